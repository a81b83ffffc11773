"""The daemon's settings: one frozen model, read from a TOML file and from the environment.

The order of precedence is: command line, environment, file, default. A setting `pki.ca_algorithm` is
`[pki] ca_algorithm = …` in the file and `CARDD_PKI__CA_ALGORITHM` in the environment. Unknown keys in
the file are refused; the reference page of the documentation is generated from this module.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from cardd.errors import CarddError
from cardd.text import Text

ENVIRONMENT_PREFIX = "CARDD_"


class SettingsError(CarddError):
    """The settings cannot be read; the sentence names the key and the rule."""

    code = "settings_invalid"
    status = 500
    title = Text("The settings are not valid", "La configuration n’est pas valide")
    default_advice = Text(
        "Correct the named setting; the configuration reference lists them all.",
        "Corrigez le paramètre nommé ; la référence de configuration les liste tous.",
    )


def split(listed: str) -> tuple[str, ...]:
    """Return the items of a setting that lists them with commas."""
    return tuple(each.strip() for each in listed.split(",") if each.strip())


class PkiSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The test PKI. Fixed when the state is first prepared, but for lifetimes of lists."""

    organisation: Annotated[str, Meta(min_length=1, max_length=64, description="`O` of every CA's DN.")] = (
        "CARDD"
    )
    organisation_unit: Annotated[
        str, Meta(min_length=1, max_length=64, description="First `OU` of every CA's DN (ISO 6523 form).")
    ] = "0002 000000000"
    pki_unit: Annotated[
        str, Meta(min_length=1, max_length=64, description="Second `OU` of every CA's DN, naming the PKI.")
    ] = "IGC LOCALE DE TEST"
    policy_oid: Annotated[
        str,
        Meta(
            pattern=r"^[0-2](\.(0|[1-9][0-9]*)){2,30}$",
            description="Policy OID of issued certificates; the default lies in the arc for documentation (RFC 5612).",
        ),
    ] = "1.3.6.1.4.1.32473.1.1"
    ca_algorithm: Annotated[
        Literal["rsa_4096", "rsa_2048", "ec_p256"],
        Meta(description="Algorithm of the CA keys. `rsa_2048` is for quick trials only."),
    ] = "rsa_4096"
    directory: Annotated[
        str,
        Meta(
            description="Directory of the CA keys' tokens where several machines hold them by a shared file system. "
            "Empty: with this machine's other tokens."
        ),
    ] = ""
    validity_years: Annotated[
        int, Meta(ge=1, le=10, description="Validity of issued certificates, in years.")
    ] = 3
    crl_validity_hours: Annotated[
        int, Meta(ge=1, le=24 * 365, description="From thisUpdate to nextUpdate of a complete CRL, in hours.")
    ] = 168
    delta_validity_hours: Annotated[
        int, Meta(ge=1, le=24 * 30, description="From thisUpdate to nextUpdate of a delta CRL, in hours.")
    ] = 24
    crl_base_hours: Annotated[
        int,
        Meta(
            ge=1,
            le=24 * 30,
            description="A new base, that deltas refer to, is published this often, in hours.",
        ),
    ] = 24
    ocsp_validity_minutes: Annotated[
        int,
        Meta(
            ge=1, le=7 * 24 * 60, description="From thisUpdate to nextUpdate of an OCSP response, in minutes."
        ),
    ] = 60


class PublicationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the addresses inside certificates point."""

    url: Annotated[
        str,
        Meta(
            pattern=r"^(https?://[^\s/]+(/[^\s]*)?)?$",
            description="Base address of CRLs, CAs and OCSP in certificates. Empty: the daemon's own.",
        ),
    ] = ""
    mirror_url: Annotated[
        str,
        Meta(
            pattern=r"^(https?://[^\s/]+(/[^\s]*)?)?$",
            description="Base address of the second CRL distribution point. Empty: `localhost`.",
        ),
    ] = ""


class StoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the state is kept. One machine needs nothing here; several share a PostgreSQL database."""

    url: Annotated[
        str,
        Meta(
            pattern=r"^(postgresql://[^\s]+)?$",
            description="PostgreSQL database that several machines share, without password, such as "
            "`postgresql://cardd@db.example/cardd?sslmode=verify-full`. Empty: SQLite in the state directory.",
        ),
    ] = ""
    password_file: Annotated[
        str,
        Meta(
            description="File (0600) whose first line is the database password. Empty: what `PGPASSFILE` or "
            "`~/.pgpass` says, or none."
        ),
    ] = ""


class MachineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """This machine among those that share a database."""

    name: Annotated[
        str, Meta(max_length=200, description="Its name in lists, for people. Empty: its host name.")
    ] = ""
    listen: Annotated[
        str,
        Meta(
            pattern=r"^(.+:[0-9]{1,5})?$",
            description="Address and port where a machine with the CA keys signs for the enrolled others (TLS 1.3 with "
            "certificates on both sides), such as `192.0.2.10:8981`. Empty: it signs for itself only.",
        ),
    ] = ""


class TokenSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The daemon's tokens and the processes that hold them."""

    module: Annotated[
        Literal["", "softhsm2", "tpm2"],
        Meta(
            description="Module that holds the keys of the structures' certificates: `softhsm2`, or `tpm2` for the "
            "machine's TPM. Empty: as chosen last for this state, `softhsm2` at first. CA keys and test cards are "
            "SoftHSM's always."
        ),
    ] = ""
    tpm_tcti: Annotated[
        str,
        Meta(
            pattern=r"^([a-z]+(:.*)?)?$",
            description="How the TPM is reached, such as `device:/dev/tpmrm0` (TCTI configuration). Empty: the first "
            "that answers.",
        ),
    ] = ""
    processes: Annotated[
        int, Meta(ge=0, le=64, description="SoftHSM's token host processes. 0: one a core, at most four.")
    ] = 0
    ready_keys: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="Keys of each kind ordered lately that are made ready in idle time on a structure's token, so "
            "that orders do not wait for theirs. 0: none.",
        ),
    ] = 0


class CardSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Test cards and their sessions."""

    validity_years: Annotated[
        int, Meta(ge=1, le=10, description="A test card is opposed after this many years.")
    ] = 3
    session_minutes: Annotated[
        int, Meta(ge=1, le=24 * 60, description="Longest card session, in minutes.")
    ] = 60
    pin_tries: Annotated[
        int, Meta(ge=2, le=15, description="Wrong PINs in a row that block a test card.")
    ] = 3
    modules: Annotated[
        str,
        Meta(
            description="Profiles of the PKCS#11 modules for cards in readers, separated by commas; the first that "
            "drives a card is used."
        ),
    ] = "opensc,cryptolib-cps"


class ReaderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Card readers. One pcscd is watched: a private one with virtual readers, or the machine's own."""

    pcsc: Annotated[
        Literal["auto", "off"],
        Meta(description="`off`: no reader is watched, and test cards are SoftHSM's only."),
    ] = "auto"
    virtual: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="Two virtual readers instead of the machine's own. `auto`: where no real reader is "
            "plugged in when the daemon starts."
        ),
    ] = "auto"


class WebSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The web service, on this machine's loopback addresses."""

    other_users: Annotated[
        Literal["published", "applications"],
        Meta(
            description="What other users of this machine get by TCP. `published`: revocation lists, CA certificates "
            "and OCSP. `applications`: besides, what the token of a paired application allows."
        ),
    ] = "published"
    tls: Annotated[
        bool, Meta(description="Whether the web service also answers by TLS, on a port of its own.")
    ] = False
    tls_port: Annotated[int, Meta(ge=1, le=65535, description="Loopback port of the web service by TLS.")] = (
        8943
    )


class OrderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Orders and the notices sent for their certificates."""

    retrieval_days: Annotated[
        int, Meta(ge=1, le=365, description="An order not retrieved expires after this many days.")
    ] = 30
    notice_days: Annotated[
        int,
        Meta(
            ge=1,
            le=365,
            description="Contacts are told this many days before a certificate ends; then it is renewable.",
        ),
    ] = 60
    code_tries: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="Wrong revocation codes in a row before a certificate's code is locked for a while.",
        ),
    ] = 5
    code_lock_minutes: Annotated[
        int, Meta(ge=1, le=24 * 60, description="How long it then stays locked, in minutes.")
    ] = 15


class CrlSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A revocation list to keep."""

    url: Annotated[str, Meta(min_length=1, max_length=2048, description="Where the list is published.")]
    issuer_certificate: Annotated[
        str, Meta(min_length=1, description="File with the certificate whose key signs it, PEM or DER.")
    ]
    urls: Annotated[
        tuple[str, ...],
        Meta(max_length=8, description="Further addresses, asked in turn where the first fails."),
    ] = ()
    delta_urls: Annotated[
        tuple[str, ...], Meta(max_length=8, description="Where its delta lists are published.")
    ] = ()
    certificate_issuers: Annotated[
        tuple[str, ...],
        Meta(
            max_length=64,
            description="Files with the certificates of further CAs that it speaks of (an indirect list, or a CA "
            "with a key of its own for lists).",
        ),
    ] = ()


class RevocationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cache of revocation lists that applications ask."""

    lists: Annotated[
        tuple[CrlSettings, ...],
        Meta(description="Lists to keep, each a table `[[revocation.lists]]` of url and issuer_certificate."),
    ] = ()
    igc_sante: Annotated[
        str,
        Meta(
            description="Directory with ANS's CA certificates of IGC-Santé TEST: their published lists are then kept. "
            "Empty: off."
        ),
    ] = ""
    policy: Annotated[
        Literal["standard", "strict", "warn", "grace"],
        Meta(description="What answers do with ageing lists where the caller names no policy."),
    ] = "standard"
    grace_hours: Annotated[
        int, Meta(ge=1, le=24 * 30, description="How long policy `grace` accepts an expired list, in hours.")
    ] = 24
    refresh_hours: Annotated[
        int, Meta(ge=1, le=24 * 30, description="A list is fetched anew at least this often, in hours.")
    ] = 12
    size_limit_mib: Annotated[int, Meta(ge=1, le=4096, description="Largest list accepted, in MiB.")] = 256
    connect_seconds: Annotated[
        int, Meta(ge=1, le=600, description="Time to connect to a server, in seconds.")
    ] = 10
    total_seconds: Annotated[
        int, Meta(ge=1, le=24 * 3600, description="Time for a whole list to arrive, in seconds.")
    ] = 600
    archive_days: Annotated[
        int,
        Meta(ge=0, le=3660, description="Lists stay in the archive this long after their end, in days."),
    ] = 90
    ocsp: Annotated[
        str,
        Meta(
            pattern=r"^(off|all|[0-9a-f]{64}(, *[0-9a-f]{64})*)$",
            description="CAs of kept lists for which `/ocsp` answers from them, signed by the daemon's own responder: "
            "`all`, or the SHA-256 of their keys (`issuer_spki_sha256` of `cardd crl show`), separated by commas. "
            "`off`: none.",
        ),
    ] = "off"
    proxy: Annotated[
        str,
        Meta(
            pattern=r"^(none|https?://[^\s]+)?$",
            description="Proxy for fetching lists. Empty: `http_proxy` and `https_proxy` of the environment; `none`: "
            "none, whatever they say.",
        ),
    ] = ""
    no_proxy: Annotated[
        str,
        Meta(
            description="Hosts and domains reached without the proxy, separated by commas. Empty: `no_proxy` of the "
            "environment."
        ),
    ] = ""
    ca_file: Annotated[
        str,
        Meta(
            description="PEM file of further CAs that certify HTTPS servers of lists. Empty: the system's only."
        ),
    ] = ""
    private_redirects: Annotated[
        bool, Meta(description="Whether a public address may redirect to a private one.")
    ] = False


class SmtpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The mail server for notices. Empty host: notices are events only."""

    host: Annotated[str, Meta(description="Host name of the mail server.")] = ""
    port: Annotated[int, Meta(ge=1, le=65535, description="Port of the mail server.")] = 25
    security: Annotated[
        Literal["none", "starttls", "tls"], Meta(description="Protection of the connection.")
    ] = "none"
    username: Annotated[str, Meta(description="Account, if the server asks for one.")] = ""
    password_file: Annotated[
        str, Meta(description="File (0600) whose first line is the account's password.")
    ] = ""
    sender: Annotated[str, Meta(description="Sender address of notices.")] = "cardd@localhost"


class BackupSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Encrypted backups of the whole state, made on demand and regularly."""

    recipients: Annotated[
        str,
        Meta(
            description="Who can open every backup: age recipients (`age1…`) or SSH public keys, separated by commas."
        ),
    ] = ""
    directory: Annotated[
        str, Meta(description="Where backups are kept. Empty: `backups` in the state directory.")
    ] = ""
    every_hours: Annotated[
        int,
        Meta(
            ge=0,
            le=24 * 31,
            description="A backup is made this often, in hours, where there are recipients. 0: never.",
        ),
    ] = 0
    keep: Annotated[
        int,
        Meta(ge=1, le=1000, description="Backups kept when regular ones are made; older ones are removed."),
    ] = 7

    @property
    def named_recipients(self) -> tuple[str, ...]:
        """Return the recipients, each by itself."""
        return split(self.recipients)


class AlertSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the daemon raises an alert about, and when. It looks once a minute."""

    window_minutes: Annotated[
        int, Meta(ge=1, le=24 * 60, description="The window in which the `…_times` are counted, in minutes.")
    ] = 15
    crl_hours: Annotated[
        int,
        Meta(ge=0, le=24 * 365, description="A revocation list ends within this many hours. 0: no alert."),
    ] = 12
    crl_times: Annotated[int, Meta(ge=1, le=1000, description="Seen so often in the window.")] = 3
    certificate_days: Annotated[
        int,
        Meta(
            ge=0,
            le=3660,
            description="Certificates of orders or CAs end within this many days. 0: no alert.",
        ),
    ] = 30
    certificate_times: Annotated[int, Meta(ge=1, le=1000, description="Seen so often in the window.")] = 3
    copy_times: Annotated[
        int,
        Meta(ge=1, le=1000, description="A token in quarantine for its copy, seen so often in the window."),
    ] = 1
    module_times: Annotated[
        int, Meta(ge=1, le=1000, description="No token host runs, seen so often in the window.")
    ] = 2
    host_restarts: Annotated[
        int, Meta(ge=0, le=1000, description="Token hosts restarted so often in the window. 0: no alert.")
    ] = 5
    upkeep_times: Annotated[
        int, Meta(ge=1, le=1000, description="A duty of the upkeep fails, seen so often in the window.")
    ] = 5
    repeat_hours: Annotated[
        int,
        Meta(ge=0, le=24 * 365, description="Told again after this many hours while it lasts. 0: told once."),
    ] = 24
    emails: Annotated[
        str, Meta(description="Who gets alerts by e-mail (see `[smtp]`), separated by commas.")
    ] = ""


class WebhookSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Events sent to other programs, signed (Standard Webhooks) and tried again until they are taken."""

    urls: Annotated[
        str, Meta(description="Where events are posted, separated by commas; https, or http on this machine.")
    ] = ""
    secret_file: Annotated[
        str,
        Meta(
            description="File (0600) whose first line is the signing secret: `whsec_` and 24 to 64 bytes in base64."
        ),
    ] = ""
    events: Annotated[
        str, Meta(description="Types of events that are sent, separated by commas; `*` stands for anything.")
    ] = "alert.*,key.copy_noticed,certificate.expiring"


class RetentionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long is kept what is not needed for ever. The journal is never shortened."""

    events_days: Annotated[
        int, Meta(ge=0, le=3660, description="Events of the stream are kept this many days. 0: for ever.")
    ] = 90
    orders_days: Annotated[
        int,
        Meta(
            ge=0,
            le=3660,
            description="Orders that expired or were cancelled are kept this many days. 0: for ever.",
        ),
    ] = 365
    deliveries_days: Annotated[
        int, Meta(ge=1, le=3660, description="Webhooks and alert mails that ended are kept this many days.")
    ] = 30


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is logged, and how."""

    format: Annotated[
        Literal["auto", "console", "json"], Meta(description="`auto`: console on a terminal, JSON elsewhere.")
    ] = "auto"
    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least severity shown.")
    ] = "info"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything an operator may set."""

    state_dir: Annotated[str, Meta(description="Directory of the state (0700): database, tokens, secrets.")]
    runtime_dir: Annotated[str, Meta(description="Directory of the Unix socket (0700).")]
    http_port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="Loopback port of the web service. 0: any free one, kept from then on.",
        ),
    ] = 8980
    stop_seconds: Annotated[
        int,
        Meta(ge=0, le=600, description="At a stop, requests under way have this long to end, in seconds."),
    ] = 20
    clock_offset_days: Annotated[
        float,
        Meta(
            ge=-36500,
            le=36500,
            description="Days added to the machine's clock, for demonstrations of expiry.",
        ),
    ] = 0
    pki: PkiSettings = PkiSettings()
    publication: PublicationSettings = PublicationSettings()
    store: StoreSettings = StoreSettings()
    machines: MachineSettings = MachineSettings()
    tokens: TokenSettings = TokenSettings()
    cards: CardSettings = CardSettings()
    readers: ReaderSettings = ReaderSettings()
    orders: OrderSettings = OrderSettings()
    revocation: RevocationSettings = RevocationSettings()
    web: WebSettings = WebSettings()
    smtp: SmtpSettings = SmtpSettings()
    backup: BackupSettings = BackupSettings()
    alerts: AlertSettings = AlertSettings()
    webhooks: WebhookSettings = WebhookSettings()
    retention: RetentionSettings = RetentionSettings()
    log: LogSettings = LogSettings()

    @property
    def state(self) -> Path:
        """Return the state directory as a path."""
        return Path(self.state_dir)

    @property
    def runtime(self) -> Path:
        """Return the runtime directory as a path."""
        return Path(self.runtime_dir)


def load_settings(
    environment: Mapping[str, str],
    *,
    config_file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the settings from file, environment and command line.

    `overrides` maps names such as `pki.ca_algorithm` to values, `None` meaning “not given”. Raises `SettingsError`.
    """
    named_file = environment.get(f"{ENVIRONMENT_PREFIX}CONFIG")
    path = config_file or (Path(named_file) if named_file else None)
    values = _read_file(path) if path is not None else {}
    for dotted, kind in _leaves(Settings):
        raw = environment.get(ENVIRONMENT_PREFIX + dotted.replace(".", "__").upper())
        if raw is not None:
            _put(values, dotted, _from_environment(dotted, raw, kind))
    for dotted, value in (overrides or {}).items():
        if value is not None:
            _put(values, dotted, value)
    _fill_directories(values, environment)
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(Text(f"Settings: {error}.", f"Configuration : {error}.")) from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            Text(f"{path} cannot be read: {error.strerror}.", f"{path} est illisible : {error.strerror}.")
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            Text(f"{path} is not valid TOML: {error}.", f"{path} n’est pas du TOML valide : {error}.")
        ) from None


def _leaves(model: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, kind in get_type_hints(model).items():
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from _leaves(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, kind


def _from_environment(dotted: str, raw: str, kind: type) -> Any:
    try:
        return msgspec.convert(raw, kind, strict=False)
    except msgspec.ValidationError as error:
        name = ENVIRONMENT_PREFIX + dotted.replace(".", "__").upper()
        raise SettingsError(Text(f"{name}: {error}.", f"{name} : {error}.")) from None


def _put(values: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, name = dotted.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[name] = value


def _fill_directories(values: dict[str, Any], environment: Mapping[str, str]) -> None:
    if not values.get("state_dir"):
        home = environment.get("XDG_STATE_HOME") or str(
            Path(environment.get("HOME") or Path.home()) / ".local/state"
        )
        values["state_dir"] = str(Path(home) / "cardd")
    values["state_dir"] = str(Path(values["state_dir"]).resolve())
    if not values.get("runtime_dir"):
        values["runtime_dir"] = str(Path(values["state_dir"]) / "run")
    values["runtime_dir"] = str(Path(values["runtime_dir"]).resolve())
