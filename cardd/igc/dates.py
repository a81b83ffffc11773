"""Dates of certificates: whole seconds, whole years."""

from datetime import datetime, timedelta

_FEBRUARY, _LEAP_DAY = 2, 29


def whole_second(moment: datetime) -> datetime:
    """Return `moment` cut to its second, the resolution of X.509 times (RFC 5280 §4.1.2.5)."""
    return moment.replace(microsecond=0)


def midnight(moment: datetime) -> datetime:
    """Return the beginning of the UTC day of `moment`."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def years_after(moment: datetime, years: int) -> datetime:
    """Return the same date and time `years` later; 29 February becomes the 28th where there is no leap day."""
    try:
        return moment.replace(year=moment.year + years)
    except ValueError:
        if (moment.month, moment.day) != (_FEBRUARY, _LEAP_DAY):
            raise
        return (moment - timedelta(days=1)).replace(year=moment.year + years)
