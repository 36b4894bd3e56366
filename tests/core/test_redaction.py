import subprocess
import time
from pathlib import Path

import pytest

from trackkit.core.redaction import DEFAULT_NAMES, DEFAULT_PATTERNS, Redactor

GITHUB = "ghp_" + "a1B2" * 9
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r"
KEY_BODY = "MIIEowIBAAKCAQEA7f3k\nZ29vZGJ5ZSB3b3JsZCE9\nc2hvcnQ=\n"
PRIVATE_KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{KEY_BODY}-----END RSA PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "name",
    [
        "password", "Passwd", "DB_PASSWORD", "dbPassword", "password2", "db-password-prod", "client_secret", "secrets",
        "token", "hf_token", "HF_TOKEN", "authToken", "access_token", "api_key", "apikey", "OPENAI_API_KEY",
        "api-key-2", "AWS_SECRET_ACCESS_KEY", "aws_access_key_id", "privateKey", "credentials", "Authorization",
        "cookie", "session_key", "SLURM_JWT", "basic_auth",
    ],
)  # fmt: skip
def test_a_name_that_tells_of_a_secret_is_recognised(name: str) -> None:
    assert Redactor().names_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "tokenizer", "max_tokens", "num_tokens", "token_count", "n_tokens", "tokens_per_second", "pad_token",
        "eos_token", "max_new_tokens", "key", "keys", "monkey", "secretary", "author", "authority", "passes", "PWD",
        "OLDPWD", "tokenization", "keyboard", "primary_key", "compass_word", "learning_rate",
    ],
)  # fmt: skip
def test_a_false_friend_is_left_alone(name: str) -> None:
    assert not Redactor().names_secret(name)


def test_a_config_loses_its_secrets_however_deep() -> None:
    config = {
        "lr": 0.1,
        "data": {"api_key": "abc", "paths": ["a", "postgres://me:pw@host/db"]},
        "loggers": [{"token": "xyz"}, {"name": "csv"}],
        "credentials": {"user": "me", "key": "k"},
        "comment": f"made with {GITHUB}.",
    }

    assert Redactor().config(config) == {
        "lr": 0.1,
        "data": {"api_key": "[redacted]", "paths": ["a", "postgres://[redacted]@host/db"]},
        "loggers": [{"token": "[redacted]"}, {"name": "csv"}],
        "credentials": {"user": "[redacted]", "key": "[redacted]"},
        "comment": "made with [redacted].",
    }
    assert config["data"]["api_key"] == "abc"  # type: ignore[index]


def test_flags_and_numbers_are_no_secrets_except_a_numeric_password() -> None:
    config = {"use_auth_token": True, "token": None, "cookie": 3, "auth": 0.5, "api_key": "", "password": 12345}

    assert Redactor().config(config) == {**config, "password": "[redacted]"}


def test_the_environment_loses_its_secrets() -> None:
    variables = {"HF_TOKEN": "abc", "HOME": "/root", "PROXY": "http://me:pw@proxy:80", "EMPTY_TOKEN": ""}

    assert Redactor().environment(variables) == {
        "HF_TOKEN": "[redacted]",
        "HOME": "/root",
        "PROXY": "http://[redacted]@proxy:80",
        "EMPTY_TOKEN": "",
    }


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["--password", "x", "--lr", "0.1"], ["--password", "[redacted]", "--lr", "0.1"]),
        (["--api-key=x"], ["--api-key=[redacted]"]),
        (["model.token=x", "model.depth=3"], ["model.token=[redacted]", "model.depth=3"]),
        (["--use-token", "--lr", "1"], ["--use-token", "--lr", "1"]),
        (["--max-tokens", "512", "--tokenizer=bpe"], ["--max-tokens", "512", "--tokenizer=bpe"]),
        (["password", "x"], ["password", "x"]),
        (["--db", "redis://:pw@host"], ["--db", "redis://[redacted]@host"]),
        (["--key", GITHUB], ["--key", "[redacted]"]),
    ],
)
def test_a_command_line_loses_its_secrets(given: list[str], kept: list[str]) -> None:
    assert Redactor().arguments(given) == kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://me:pw@github.com/a/b.git", "https://github.com/a/b.git"),
        (f"https://{GITHUB}@github.com/a/b.git", "https://github.com/a/b.git"),
        ("https://oauth2@gitlab.com/a/b", "https://gitlab.com/a/b"),
        ("ssh://git@github.com/a/b", "ssh://git@github.com/a/b"),
        ("ssh://git:pw@github.com/a/b", "ssh://git@github.com/a/b"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("https://host/x?token=abc&page=2", "https://host/x?token=[redacted]&page=2"),
        ("/srv/git/a.git", "/srv/git/a.git"),
    ],
)
def test_an_address_loses_its_credentials(given: str, kept: str) -> None:
    assert Redactor().url(given) == kept


@pytest.mark.parametrize(
    "secret",
    [
        "AKIAIOSFODNN7EXAMPLE", GITHUB, "github_pat_" + "A1" * 20, "glpat-abcdefghij0123456789", "hf_" + "aB3" * 11,
        "sk-" + "a1B2" * 12, "sk-proj-" + "ab_1-" * 10, "sk-ant-api03-" + "ab_1-" * 10, "xoxb-123456789012-abcdef",
        "AIza" + "x" * 35, JWT, "pypi-" + "Ag1" * 20, "npm_" + "a" * 36,
    ],
)  # fmt: skip
def test_text_loses_what_looks_like_a_secret(secret: str) -> None:
    assert Redactor().text(f"using {secret}, then on") == "using [redacted], then on"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ('api_key = "hello"', 'api_key = "[redacted]"'),
        ('{"token": "hello", "n": 1}', '{"token": "[redacted]", "n": 1}'),
        ("-HF_TOKEN=hello", "-HF_TOKEN=[redacted]"),
        ("+HF_TOKEN=hello", "+HF_TOKEN=[redacted]"),
        ("export DB_PASSWORD=hello", "export DB_PASSWORD=[redacted]"),
        ("password: hunter2", "password: [redacted]"),
        ("run --api-key=a1b2 now", "run --api-key=[redacted] now"),
        ("Authorization: Bearer abcdefghijklmnopqrst", "Authorization: Bearer [redacted]"),
        ('"Authorization": "Basic dXNlcjpwYXNz"', '"Authorization": "[redacted]"'),
        ("connect to postgres://me:p4ss@db:5432/x", "connect to postgres://[redacted]@db:5432/x"),
    ],
)
def test_text_loses_the_value_after_a_secret_name(given: str, kept: str) -> None:
    assert Redactor().text(given) == kept


@pytest.mark.parametrize(
    "text",
    [
        "def login(user: str, password: str) -> Token:",
        "    self.token = tokens[0]",
        "password=args.password, token=token",
        "tokens/s: 512 token=1234 token: 0.5",
        'pad_token = "<pad>"',
        "see https://example.org:8080/a@b and mail me@example.org",
        "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "task-management-of-a-very-long-name-indeed-00",
        "API_KEY=$OTHER",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert Redactor().text(text) == text


def test_a_private_key_is_taken_out_line_for_line() -> None:
    text = f"before\n{PRIVATE_KEY}after\n"

    redacted = Redactor().text(text)

    assert not any(line in redacted for line in KEY_BODY.splitlines())
    assert redacted.count("\n") == text.count("\n")
    assert redacted.startswith("before\n")
    assert redacted.endswith("after\n")


def test_a_private_key_whose_end_is_missing_is_taken_out_to_the_end() -> None:
    redacted = Redactor().text("-----BEGIN PRIVATE KEY-----\nMIIEow\nZ29v")

    assert redacted == "-----BEGIN PRIVATE KEY-----\n[redacted]\n[redacted]"


def test_a_private_key_in_a_long_text_is_taken_out_wherever_it_stands() -> None:
    for before in range(3900, 4200, 7):
        text = "x" * 49 + "\n"
        text = (text * 100)[:before] + "\n" + PRIVATE_KEY + text * 200

        redacted = Redactor().text(text)

        assert not any(line in redacted for line in KEY_BODY.splitlines())
        assert len(redacted.splitlines()) == len(text.splitlines())


def test_a_private_key_on_one_line_is_taken_out() -> None:
    text = r'key = "-----BEGIN PRIVATE KEY-----\nMIIEow\n-----END PRIVATE KEY-----"' + "\nnext line\n"

    expected = 'key = "-----BEGIN PRIVATE KEY-----[redacted]-----END PRIVATE KEY-----"\nnext line\n'
    assert Redactor().text(text) == expected


def test_code_that_speaks_of_private_keys_is_kept() -> None:
    text = 'BEGIN = "-----BEGIN PRIVATE KEY-----"\nEND = r"-----END [A-Z ]*KEY-----"\n\ndef find(x):\n    pass\n'

    assert Redactor().text(text).endswith('KEY-----"\n\ndef find(x):\n    pass\n')


def test_a_redacted_patch_still_applies(tmp_path: Path) -> None:
    lines = f"{PRIVATE_KEY}TOKEN=abc\n".splitlines()
    patch = "".join(
        ["diff --git a/k b/k\nnew file mode 100644\n--- /dev/null\n+++ b/k\n", f"@@ -0,0 +1,{len(lines)} @@\n"]
        + [f"+{line}\n" for line in lines]
    )

    redacted = Redactor().text(patch)

    subprocess.run(["git", "apply", "-"], input=redacted, text=True, cwd=tmp_path, check=True)
    assert (tmp_path / "k").read_text().splitlines()[1:] == [
        *["[redacted]"] * 3,
        "-----END RSA PRIVATE KEY-----",
        "TOKEN=[redacted]",
    ]


def test_a_long_text_is_redacted_throughout_with_rests() -> None:
    line = f"epoch 3 of the run, key {GITHUB} and İstanbul\n"
    rests: list[None] = []

    redacted = Redactor().text(line * 2000, rest=lambda: rests.append(None))

    assert redacted == line.replace(GITHUB, "[redacted]") * 2000
    assert len(rests) > 20


def test_a_text_without_line_ends_is_redacted() -> None:
    assert GITHUB not in Redactor().text("x " * 5000 + GITHUB + " y" * 5000)


def test_rules_can_be_added() -> None:
    redactor = Redactor([*DEFAULT_PATTERNS, "acme-[0-9]+", "(?:foo|bar)[0-9]"], names=[*DEFAULT_NAMES, "ssn", "a|bc"])

    assert redactor.config({"ssn": "1", "bc": "x", "note": "acme-12 foo1", "api_key": "k", "lr": 1}) == {
        "ssn": "[redacted]",
        "bc": "[redacted]",
        "note": "[redacted] [redacted]",
        "api_key": "[redacted]",
        "lr": 1,
    }


def test_rules_can_be_turned_off() -> None:
    redactor = Redactor([], names=[])

    assert redactor.config({"password": "x"}) == {"password": "x"}
    assert redactor.text(f"TOKEN=abc {GITHUB}\n{PRIVATE_KEY}") == f"TOKEN=abc {GITHUB}\n{PRIVATE_KEY}"


def test_another_replacement_can_be_chosen() -> None:
    assert Redactor(replacement="***").text("password=hunter2") == "password=***"


def test_a_rule_that_is_no_regular_expression_is_refused_with_its_text() -> None:
    with pytest.raises(ValueError, match=r"'\(unclosed' is no regular expression"):
        Redactor(["(unclosed"])


def test_a_long_line_of_words_and_hyphens_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        line = "token=1 " + "a-" * (size // 2)
        started = time.thread_time()
        Redactor().text(line)
        return time.thread_time() - started

    seconds(100)
    small = max(min(seconds(8_000) for _ in range(3)), 1e-4)

    assert seconds(64_000) < 40 * small
