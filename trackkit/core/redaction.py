"""Keeping secrets out of what is recorded: by the name of a setting, and by the look of a value."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from trackkit.core.records import Json

DEFAULT_NAMES: tuple[str, ...] = (
    "passwords?",
    "passwd",
    "passphrases?",
    "pwd",
    "secrets?",
    "secretkey",
    "credentials?",
    "authorization",
    "auth$",
    "token$",
    "access_?tokens?",
    "auth_?tokens?",
    "api_?tokens?",
    "jwt",
    "api_?keys?",
    "access_?keys?",
    "account_?keys?",
    "private_?keys?",
    "secret_?keys?",
    "session_?keys?",
    "signing_?keys?",
    "encryption_?keys?",
    "cookies?$",
)
"""Names of settings whose values are secret, as regular expressions; see `Redactor`."""

DEFAULT_PATTERNS: tuple[str, ...] = (
    # AWS access key ids
    r"AKIA[A-Z0-9]{16}(?![A-Za-z0-9])",
    r"ASIA[A-Z0-9]{16}(?![A-Za-z0-9])",
    # GitHub, GitLab
    r"ghp_[A-Za-z0-9]{30,}",
    r"gho_[A-Za-z0-9]{30,}",
    r"ghu_[A-Za-z0-9]{30,}",
    r"ghs_[A-Za-z0-9]{30,}",
    r"ghr_[A-Za-z0-9]{30,}",
    r"github_pat_[A-Za-z0-9_]{22,}",
    r"glpat-[A-Za-z0-9_-]{20,}",
    # Hugging Face, OpenAI and those who took over its form, Google, Slack
    r"hf_[A-Za-z0-9]{30,}",
    r"sk-(?:[A-Za-z0-9]{32,}|(?:proj|svcacct|admin|or-v1|ant-[a-z]+[0-9]+)-[A-Za-z0-9_-]{20,})",
    r"AIza[A-Za-z0-9_-]{35}",
    r"ya29\.[A-Za-z0-9_-]{20,}",
    r"xox[abeoprs]-[A-Za-z0-9-]{10,}",
    r"hooks\.slack\.com/services/(?P<secret>[A-Za-z0-9/]+)",
    # package registries, Stripe
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-[A-Za-z0-9_-]{50,}",
    r"k_live_[A-Za-z0-9]{16,}",
    # JSON web tokens, HTTP credentials, a password in an address
    r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    r"earer +(?P<secret>[A-Za-z0-9._~+/-]{16,}=*)",
    r"uthorization[\"']?\s?[:=]\s?[\"']?[A-Z][a-z]+ +(?P<secret>[A-Za-z0-9._~+/-]{8,}=*)",
    r"://(?P<secret>[^\s/:@\"'<>]*:[^\s/@\"'<>]+)@",
)
"""The look of secrets, as regular expressions; see `Redactor`."""

_SPECIAL_TOKEN = re.compile(
    "(?:^|_)(?:additional|audio|begin|bos|class|cls|decoder|end|eos|eot|first|fim|image|last|mask|max|middle|min|new|"
    "next|pad|patch|per|prefix|sep|special|start|stop|suffix|turn|unk|video|vision|word)_token[0-9]*$"
)
"""A piece of a vocabulary, or a count of them."""

_SLICE = 4096
"""Characters looked at in one go: about 100 µs' work, so that the training thread gets its turn between them."""

_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_ASSIGNMENT = re.compile(
    r"""(?<![\w.-])-{0,2}(?P<name>[A-Za-z_][\w.-]*+)["']?\s{0,4}(?P<operator>[:=])\s{0,4}"""
    r"""(?:(?P<quote>["'])(?P<quoted>[^"'\n]+)(?P=quote)|(?P<bare>[^\s"'`,;(){}\[\]<>]+))"""
)
_ENVIRONMENT_LINE = re.compile(r"[+\- ]?\s*(?:export )?[A-Za-z_]\w*=\S+\s*")
_NUMBER = re.compile(r"[+-]?[0-9.,_]+(?:[eE][+-]?[0-9]+)?%?")
_PRIVATE_KEY = re.compile(
    r"(?P<begin>-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----)"
    # What follows on the line, in which line ends may be spelled out, and lines of base64 or headers.
    r"(?P<body>(?:(?!-----END)[^\n])*(?:\n[+\- ]?(?:[A-Za-z0-9+/=]+|[A-Z][A-Za-z-]+: [^\n]*|)\r?(?=\n|\Z))*)"
)
_KEY_LINE = re.compile(r"^([+\- ]?+)[^\n]+$")
_USER_INFO = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^/@]*)@")
_QUERY_ENTRY = re.compile(r"(?<=[?&;])(?P<name>[^=&;#]+)=(?P<value>[^&;#]+)")


def _go_on() -> None:
    """Take no rest."""


class Redactor:
    """Replaces secrets before anything is written.

    Secrets are found in two ways. A setting whose **name** tells that it is secret loses its value: in
    dictionaries, in the environment, in command lines, and in text where a name is followed by a value
    (`api_key = "..."`, `API_KEY=...`). A **pattern** finds what looks like a secret anywhere in text.

    Flags, None and numbers are kept, whatever their name (`use_auth_token: true`, `max_token: 512`), except that a
    number is no harmless value of a password. Text without quotes is taken for a value only if it has a digit in it or
    stands alone on its line, so that source code in a diff keeps its meaning.

    Parameters
    ----------
    patterns
        Regular expressions searched in every text. Where one has a group named `secret`, that group is
        replaced, else the whole match. A pattern that begins with at least three literal characters
        costs next to nothing where these do not occur.
    replacement
        What is written in place of a secret.
    names
        Regular expressions for names, compared with whole words of a name in lower case joined by `_`:
        `api_key` is found in `OPENAI_API_KEY`, `apiKey` and `api-key-2`. One that ends with `$` must be the
        last of the words, so `token$` leaves `token_count` alone.

    Examples
    --------
    >>> Redactor().config({"lr": 0.1, "api_key": "abc", "db": "postgres://me:pw@host/db"})
    {'lr': 0.1, 'api_key': '[redacted]', 'db': 'postgres://[redacted]@host/db'}
    >>> Redactor([*DEFAULT_PATTERNS, "acme-[0-9a-f]{32}"], names=[*DEFAULT_NAMES, "ssn"]).config({"ssn": "078-05"})
    {'ssn': '[redacted]'}
    >>> Redactor([], names=[]).config({"api_key": "abc"})
    {'api_key': 'abc'}
    """

    def __init__(
        self,
        patterns: Sequence[str] = DEFAULT_PATTERNS,
        replacement: str = "[redacted]",
        *,
        names: Sequence[str] = DEFAULT_NAMES,
    ) -> None:
        self.replacement = replacement
        self._shapes = [(_leading_literal(pattern), pattern) for pattern in patterns]
        # The defaults are compiled when first needed, which spares the start of a run some milliseconds.
        for pattern in patterns:
            if pattern not in DEFAULT_PATTERNS:
                _compiled(pattern)
        self._name = _compiled("|".join(map(_whole_words, names))) if names else None
        self._name_hints = [(hint, rf"""{hint}[\w.-]*["']?\s{{0,4}}[:=]""") for hint in _hints(names)]
        self._judged: dict[str, bool] = {}

    def config(self, values: Mapping[str, Json]) -> dict[str, Json]:
        """A copy of a configuration, with nested dicts and lists, without its secrets."""
        return {key: self._value(value, self.names_secret(str(key)), str(key)) for key, value in values.items()}

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """A copy of environment variables without their secrets."""
        return {
            name: self.replacement if value and self.names_secret(name) else self.text(value)
            for name, value in variables.items()
        }

    def arguments(self, arguments: Sequence[str]) -> list[str]:
        """A command line without its secrets: `--password x`, `--api-key=x`, `model.token=x`."""
        redacted: list[str] = []
        secret_follows = False
        for argument in arguments:
            name, equals, value = argument.partition("=")
            if secret_follows and not argument.startswith("--"):
                redacted.append(self.replacement)
                secret_follows = False
                continue
            secret = bool(_is_name(name)) and self.names_secret(name)
            if equals and value and secret:
                redacted.append(f"{name}={self.replacement}")
            else:
                redacted.append(self.text(argument))
            secret_follows = secret and not equals and argument.startswith("-")
        return redacted

    def url(self, url: str) -> str:
        """An address without the credentials in it; the user of `ssh://git@host` is no secret."""
        found = _USER_INFO.match(url)
        if found and (":" in found["user"] or found["scheme"].lower() in {"http://", "https://"}):
            user = found["user"].partition(":")[0] + "@" if found["scheme"].startswith(("ssh", "git+ssh")) else ""
            url = f"{found['scheme']}{user}{url[found.end() :]}"
        return self.text(_QUERY_ENTRY.sub(self._query_entry, url))

    def text(self, text: str, rest: Callable[[], None] = _go_on) -> str:
        """Text without its secrets, line for line, so that a patch stays a patch.

        Parameters
        ----------
        text
            Any text: console lines, a diff.
        rest
            Called about every 100 µs of work on a long text, to let the training thread have the interpreter.
        """
        if not self._shapes and self._name is None:
            return text
        if len(text) <= _SLICE:
            return self._slice(text)
        cleaned: list[str] = []
        for piece in _slices(text):
            cleaned.append(self._slice(piece))
            rest()
        return "".join(cleaned)

    def names_secret(self, name: str) -> bool:
        """Whether a setting of this name holds a secret."""
        secret = self._judged.get(name)
        if secret is None:
            secret = self._judge(name)
            if len(self._judged) < 10_000:
                self._judged[name] = secret
        return secret

    def _judge(self, name: str) -> bool:
        if self._name is None:
            return False
        words = [word.lower() for word in _WORD_BREAK.split(name) if word]
        joined = "_".join(words)
        # The shell's working directory is the one name of old that reads like a password.
        if joined in {"pwd", "oldpwd"} or _SPECIAL_TOKEN.search(joined):
            return False
        return self._name.search(joined) is not None

    def _value(self, value: Json, secret: bool, name: str) -> Json:
        if isinstance(value, Mapping):
            return {
                key: self._value(item, secret or self.names_secret(str(key)), str(key)) for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self._value(item, secret, name) for item in value]
        if isinstance(value, str):
            return self.replacement if secret and value else self.text(value)
        if secret and isinstance(value, int) and not isinstance(value, bool) and "pass" in name.lower():
            return self.replacement
        return value

    def _slice(self, text: str) -> str:
        if self._shapes and "-----BEGIN " in text:
            text = _PRIVATE_KEY.sub(self._without_body, text)
        for literal, shape in self._shapes:
            if literal in text:
                text = _compiled(shape).sub(self._match, text)
        if self._name is None:
            return text
        lowered = text.lower()
        if any(hint in lowered and _compiled(followed).search(lowered) for hint, followed in self._name_hints):
            return "\n".join(map(self._line, text.split("\n")))
        return text

    def _line(self, line: str) -> str:
        return _ASSIGNMENT.sub(self._assignment, line) if "=" in line or ":" in line else line

    def _assignment(self, found: re.Match[str]) -> str:
        if not self.names_secret(found["name"]):
            return found[0]
        group = "quoted" if found["quote"] else "bare"
        if group == "bare" and not self._is_bare_secret(found):
            return found[0]
        return self._replace(found, group)

    def _is_bare_secret(self, found: re.Match[str]) -> bool:
        value = found["bare"]
        if value.startswith(("$", self.replacement)) or _NUMBER.fullmatch(value):
            return False
        alone = found["operator"] == "=" and _ENVIRONMENT_LINE.fullmatch(found.string) is not None
        return alone or any(character.isdigit() for character in value)

    def _match(self, found: re.Match[str]) -> str:
        return self._replace(found, "secret" if "secret" in found.re.groupindex else 0)

    def _replace(self, found: re.Match[str], group: str | int) -> str:
        start, end = found.span(group)
        whole = found.string
        return whole[found.start() : start] + self.replacement + whole[end : found.end()]

    def _query_entry(self, found: re.Match[str]) -> str:
        return self._replace(found, "value") if self.names_secret(found["name"]) else found[0]

    def _without_body(self, key: re.Match[str]) -> str:
        first, *lines = key["body"].split("\n")
        redacted = [_KEY_LINE.sub(lambda line: line[1] + self.replacement, line) for line in lines]
        return key["begin"] + "\n".join([self.replacement if first.strip() else first, *redacted])


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"the redaction rule {pattern!r} is no regular expression: {error}. "
            "Escape characters that are meant literally with a backslash."
        ) from error


def _leading_literal(pattern: str) -> str:
    """The characters every match begins with; empty if the pattern does not say so plainly."""
    if "|" in re.sub(r"\(.*\)", "", pattern):
        return ""
    found = re.match(r"(?:[A-Za-z0-9_:/ -]|\\[.\-/])+(?![?*{])", pattern)
    literal = re.sub(r"\\(.)", r"\1", found[0]) if found else ""
    return literal if len(literal) > 2 else ""


def _whole_words(name: str) -> str:
    if name.endswith("$"):
        return f"(?:^|_)(?:{name[:-1]})_?[0-9]*$"
    return f"(?:^|_)(?:{name})[0-9]*(?:_|$)"


def _hints(names: Sequence[str]) -> list[str]:
    """Pieces of text one of which stands in every text that has one of the names in it."""
    found = {_hint(name.lower()) for name in names}
    return sorted(hint for hint in found if not any(other in hint for other in found - {hint}))


def _hint(name: str) -> str:
    if re.search(r"[^a-z0-9_?$]", name):
        return ""
    return next((run for run in reversed(re.findall("[a-z]+", re.sub(r".\?", " ", name))) if len(run) > 2), "")


def _is_name(argument: str) -> Any:
    return re.fullmatch(r"[-+~]*[A-Za-z_][\w.\-/@]*", argument)


def _slices(text: str) -> Iterator[str]:
    """The text in pieces of whole lines, as far as lines are not longer than a piece."""
    start = 0
    while start < len(text):
        end = text.rfind("\n", start, start + _SLICE) + 1
        if end <= start:
            newline = text.find("\n", start, start + 16 * _SLICE)
            end = newline + 1 if newline >= 0 else start + 16 * _SLICE
        # A private key is recognised by its first line, so it stays in one piece.
        begin = text.rfind("-----BEGIN ", start, end)
        if begin >= 0 and (key := _PRIVATE_KEY.match(text, begin)):
            end = max(end, key.end())
        yield text[start:end]
        start = end
