"""What the settings say of revocation lists: those to keep, and whom HTTPS servers of lists are verified by."""

import ssl
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509

from cardd.errors import CarddError, InvalidFieldsError
from cardd.revocation.fetching import tls_context, unsupported
from cardd.revocation.prepared import IGC_SANTE_ORIGIN, prepared_sources
from cardd.revocation.sources import NewSource, derived_id, read_certificate
from cardd.settings import CrlSettings, RevocationSettings, SettingsError
from cardd.text import Text

_SUFFIXES = frozenset({".cer", ".crt", ".der", ".pem"})


def configured_sources(settings: RevocationSettings) -> list[NewSource]:
    """Return the lists that the settings name; raises `SettingsError` naming the setting and what is wrong."""
    found = [_source(number, each) for number, each in enumerate(settings.lists)]
    if settings.igc_sante:
        held = _directory(Path(settings.igc_sante))
        found += [new for _, new in prepared_sources(held, IGC_SANTE_ORIGIN) if new is not None]
    return found


def configured_tls(settings: RevocationSettings) -> ssl.SSLContext | None:
    """Return what verifies HTTPS servers of lists, None for the default; raises `SettingsError`."""
    try:
        return tls_context(settings.ca_file)
    except OSError as error:
        raise _wrong("ca_file", f"{settings.ca_file}: {error.strerror or error.reason}") from None  # type: ignore[attr-defined]


def _source(number: int, each: CrlSettings) -> NewSource:
    name = f"lists.{number}"
    urls = (each.url, *each.urls)
    for url in (*urls, *each.delta_urls):
        problem = unsupported(url)
        if problem is not None:
            raise _wrong(name, problem.detail)
    signer = _certificate(f"{name}.issuer_certificate", Path(each.issuer_certificate))
    others = tuple(
        _certificate(f"{name}.certificate_issuers", Path(path)) for path in each.certificate_issuers
    )
    return NewSource(derived_id(signer, urls), "settings", signer, others, urls, each.delta_urls)


def _directory(directory: Path) -> Iterable[x509.Certificate]:
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix in _SUFFIXES)
    except OSError as error:
        raise _wrong("igc_sante", f"{directory}: {error.strerror}") from None
    return [_certificate("igc_sante", path) for path in paths]


def _certificate(setting: str, path: Path) -> x509.Certificate:
    try:
        return read_certificate(path.read_bytes(), str(path))
    except OSError as error:
        raise _wrong(setting, f"{path}: {error.strerror}") from None
    except InvalidFieldsError as error:
        raise _wrong(setting, error.detail) from None


def _wrong(setting: str, reason: Text | str) -> CarddError:
    words = Text(reason, reason) if isinstance(reason, str) else reason
    return SettingsError(
        Text(
            f"revocation.{setting}: {words.en.rstrip('.')}.",
            f"revocation.{setting} : {words.fr.rstrip('.')}.",
        )
    )
