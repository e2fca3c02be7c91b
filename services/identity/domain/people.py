"""What names, logins, extensions, mobiles and passwords may be, and when an account is locked."""

import re
from datetime import datetime, timedelta

from services.chassis.errors import InvalidInput, Unauthenticated
from services.kernel.phones import PhoneKind, parse_phone

# A sign-in name: it is typed often and by hand.
LOGIN = re.compile(r"[a-z0-9][a-z0-9._@-]{1,63}")
# A tenant's short name, part of the sign-in.
SLUG = re.compile(r"[a-z0-9][a-z0-9-]{1,31}")
EXTENSION = re.compile(r"[0-9]{2,10}")
LONGEST_NAME = 50
SHORTEST_PASSWORD = 10
# Longer ones only cost time to hash.
LONGEST_PASSWORD = 200
# Different characters of a password at least.
FEWEST_DIFFERENT = 5
# With one of these in it, a password is among the first that are tried.
COMMON_RUNS = (
    "12345678",
    "87654321",
    "password1",
    "qwertyui",
    "1q2w3e4r",
    "abcdefgh",
    "iloveyou",
    "11111111",
)
# Shortest login that a password must not contain, in characters.
SHORTEST_TELLING_LOGIN = 4
# A department's posts, at most.
MOST_POSTS = 50

# Failures in a row after which an account is locked, and for how long.
FAILURES_TO_LOCK = 10
LOCK = timedelta(minutes=15)
# Life of a session.
SESSION = timedelta(hours=12)


def parse_login(text: str, field: str) -> str:
    """Return a sign-in name in lower case; raises InvalidInput LOGIN_INVALID."""
    login = text.strip().lower()
    if not LOGIN.fullmatch(login):
        raise InvalidInput(
            field,
            "LOGIN_INVALID",
            "账号应为2到64位小写字母、数字或 . _ @ -",
            "A login has 2 to 64 letters, digits or . _ @ -",
        )
    return login


def parse_slug(text: str, field: str) -> str:
    """Return a tenant's short name; raises InvalidInput SLUG_INVALID."""
    if not SLUG.fullmatch(text):
        raise InvalidInput(
            field,
            "SLUG_INVALID",
            "租户简称应为2到32位小写字母、数字或 -",
            "A tenant's short name has 2 to 32 lower-case letters, digits or -",
        )
    return text


def parse_name(text: str, field: str) -> str:
    """Return a display name without blanks around it; raises InvalidInput NAME_LENGTH."""
    name = text.strip()
    if not 1 <= len(name) <= LONGEST_NAME:
        raise InvalidInput(
            field,
            "NAME_LENGTH",
            "名称应为1到{longest}个字",
            "A name has 1 to {longest} characters",
            longest=LONGEST_NAME,
        )
    return name


def parse_extension(text: str, field: str) -> str:
    """Return an extension, "" for none; raises InvalidInput EXTENSION_INVALID."""
    extension = text.strip()
    if extension and not EXTENSION.fullmatch(extension):
        raise InvalidInput(
            field, "EXTENSION_INVALID", "分机号应为2到10位数字", "An extension has 2 to 10 digits"
        )
    return extension


def parse_mobile(text: str, field: str) -> str:
    """Return a mobile in E.164, "" for none; raises InvalidInput PHONE_* or MOBILE_REQUIRED."""
    if not text.strip():
        return ""
    number = parse_phone(text, field)
    if number.kind not in (PhoneKind.MOBILE, PhoneKind.FOREIGN) or number.extension:
        raise InvalidInput(
            field,
            "MOBILE_REQUIRED",
            "请填写手机号，短信才能送达",
            "A mobile number is needed, so that SMS can reach it",
        )
    return number.e164


def check_password(password: str, field: str, *, login: str = "") -> None:
    """Raise InvalidInput PASSWORD_LENGTH, PASSWORD_COMMON or PASSWORD_HAS_LOGIN for one that is easily guessed.

    10 to 200 characters, five different ones at least, none of those that everybody tries, not with the login in it.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InvalidInput(
            field,
            "PASSWORD_LENGTH",
            "密码应为{shortest}到{longest}位",
            "A password has {shortest} to {longest} characters",
            shortest=SHORTEST_PASSWORD,
            longest=LONGEST_PASSWORD,
        )
    lowered = password.lower()
    if len(set(lowered)) < FEWEST_DIFFERENT or any(run in lowered for run in COMMON_RUNS):
        raise InvalidInput(
            field,
            "PASSWORD_COMMON",
            "密码过于简单，请勿使用连续、重复或常见的字符",
            "This password is easily guessed: no runs, repetitions or common words",
        )
    # A short login stands in many words by chance.
    if len(login) >= SHORTEST_TELLING_LOGIN and login.lower() in lowered:
        raise InvalidInput(
            field, "PASSWORD_HAS_LOGIN", "密码不能包含登录账号", "A password must not contain the login"
        )


def lock_after_failure(failures: int, now: datetime) -> tuple[int, datetime | None]:
    """Return the failures to keep and until when the account is locked, after one more failure."""
    if failures + 1 >= FAILURES_TO_LOCK:
        return 0, now + LOCK
    return failures + 1, None


def invalid_credentials() -> Unauthenticated:
    """Return the one refusal of a sign-in: it never tells which part was wrong, or that the account is locked."""
    return Unauthenticated(
        "INVALID_CREDENTIALS",
        "租户、账号或密码不正确；连续{failures}次失败后账号锁定{minutes}分钟",
        "Wrong tenant, login or password; after {failures} failures in a row an account is locked for {minutes} min",
        failures=FAILURES_TO_LOCK,
        minutes=int(LOCK.total_seconds() // 60),
    )


def session_ended() -> Unauthenticated:
    """Return the refusal of a session or key that is unknown, expired or ended."""
    return Unauthenticated("SESSION_ENDED", "登录已失效，请重新登录", "The session has ended; sign in again")
