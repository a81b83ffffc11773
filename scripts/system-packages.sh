#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that cardd needs and that are missing; does nothing when all are there.
# With --with-tests, those that only the tests need too; with --with-bench, those that the benchmarks are beside.
set -euo pipefail

# The system's own Python where it is new enough (Debian 12: 3.11, Ubuntu 24.04: 3.12), otherwise python3.11.
python=$(/usr/bin/python3 -c 'import sys; v = sys.version_info; print(f"python3.{v[1]}" if v >= (3, 11) else "")' \
    2>/dev/null) || python=
python=${python:-python3.11}

missing=()
why=()
needed=0
driver=/usr/lib/pcsc/drivers/serial/libifdvpcd.so
# need PACKAGE WHY CHECK…: notes the package as missing unless the check succeeds.
need() {
    "${@:3}" >/dev/null 2>&1 || { missing+=("$1") && why+=("$2") && needed=1; }
}
# want PACKAGE WHY CHECK…: the same, but cardd does without where it cannot be installed.
want() {
    "${@:3}" >/dev/null 2>&1 || { missing+=("$1") && why+=("$2, if possible"); }
}
give_up() {
    echo "$1" >&2
    exit "$needed"
}
one_of() { for path in "$@"; do [ ! -e "$path" ] || return 0; done; return 1; }

need "$python" "the interpreter" test -x "/usr/bin/$python"
need "$python-venv" "the virtual environment" "/usr/bin/$python" -c 'import ensurepip, venv'
need "$python-dev" "Python packages that compile" test -e "/usr/include/$python/Python.h"
need gcc "Python packages that compile" command -v gcc
need swig "card readers (PC/SC) from Python" command -v swig
need libpcsclite-dev "card readers (PC/SC) from Python" test -e /usr/include/PCSC/winscard.h
need pcscd "card readers (PC/SC)" test -x /usr/sbin/pcscd
want vsmartcard-vpcd "virtual card readers" test -e "$driver"
need softhsm2 "software tokens that hold the keys" command -v softhsm2-util
need opensc "pkcs11-tool: the keys from other programs" command -v pkcs11-tool
need libengine-pkcs11-openssl "the keys from OpenSSL" one_of /usr/lib/*/engines-3/pkcs11.so
need openssl "the examples and the tests" command -v openssl
need curl "the examples" command -v curl
need jq "the examples" command -v jq
if [[ " $* " = *" --with-tests "* ]]; then
    need chromium "the tests of the pages" command -v chromium
    need postgresql "the tests of the shared database" one_of /usr/lib/postgresql/*/bin/initdb
    need iproute2 "the tests of several machines" command -v ip
    need prometheus "promtool: the tests of the alert rules" command -v promtool
    need default-jre-headless "the tests with Java" command -v keytool
    need nginx-light "the tests with nginx" test -x /usr/sbin/nginx
    need haproxy "the tests of programs that read revocation lists" test -x /usr/sbin/haproxy
    need socat "the tests of programs that read revocation lists" command -v socat
    need gnutls-bin "the attacks with p11tool" command -v p11tool
    need libnss3-tools "the tests with Firefox’s NSS" command -v modutil
    need libtpm2-pkcs11-1 "the tests with a TPM" one_of /usr/lib/*/libtpm2_pkcs11.so.1
    need libtpm2-pkcs11-tools "the attacks on a TPM" command -v tpm2_ptool
    need tpm2-tools "the attacks on a TPM" command -v tpm2_load
    need swtpm "a TPM in software" command -v swtpm
    need tpm2-abrmd "a TPM in software" test -x /usr/sbin/tpm2-abrmd
    need libtss2-tcti-tabrmd0 "a TPM in software" one_of /usr/lib/*/libtss2-tcti-tabrmd.so.0
    need dbus-daemon "a TPM in software" command -v dbus-daemon
    need dbus-bin "a TPM in software" command -v dbus-send
fi
if [[ " $* " = *" --with-bench "* ]]; then
    need dirmngr "the benchmarks of revocation lists" command -v dirmngr
fi
need ca-certificates "the installation of Python packages" test -e /etc/ssl/certs/ca-certificates.crt

[ "${#missing[@]}" -gt 0 ] || exit 0
echo "These system packages are missing and will be installed with apt-get:" >&2
for i in "${!missing[@]}"; do printf '  %-26s %s\n' "${missing[$i]}" "${why[$i]}" >&2; done

if ! command -v apt-get >/dev/null; then
    give_up "error: there is no apt-get — install what the list names in this system's way, then run make again"
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        give_up "error: neither root nor sudo — ask an administrator for: apt-get install ${missing[*]}"
    fi
    as_root=(sudo)
    echo "sudo may ask for your password." >&2
fi
"${as_root[@]}" apt-get update -q >&2
had_driver=0
[ ! -e "$driver" ] || had_driver=1
install() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2; }
install "${missing[@]}" || give_up "error: apt-get could not install all of: ${missing[*]}"

# The virtual readers' driver listens on every interface, without a password. cardd runs it in a namespace of its own;
# the machine's pcscd is kept from loading it too, unless the driver was there before and somebody may want it so.
readers=/etc/reader.conf.d
if [ "$had_driver" -eq 0 ] && [ -e "$readers/vpcd" ]; then
    "${as_root[@]}" mv "$readers/vpcd" "$readers/.vpcd"
    echo "The machine's own pcscd does not load the virtual readers: $readers/vpcd is now .vpcd (hidden files are skipped)." >&2
    ! command -v systemctl >/dev/null || "${as_root[@]}" systemctl try-restart pcscd.service >/dev/null 2>&1 || true
fi
