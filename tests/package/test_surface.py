"""What users type is pinned: the help of each command, the keys of the config. A change of these is a decision."""

import pytest
from pydantic import BaseModel
from typer.main import get_command
from typer.testing import CliRunner

from rankwright.cli.app import app
from rankwright.config import RunConfig
from tests.golden_text import assert_golden

VERBS = sorted(get_command(app).commands)
WIDTH = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}


def config_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Each key with its default, those of the sections below their names."""
    keys = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += config_keys(field.annotation, f"{prefix}{name}.")
        else:
            default = "required" if field.is_required() else repr(field.get_default(call_default_factory=True))
            keys.append(f"{prefix}{name} = {default}")
    return keys


@pytest.mark.golden
def test_keys_of_the_config_are_those_of_the_golden_file() -> None:
    assert_golden("config_keys.txt", "\n".join(config_keys(RunConfig)) + "\n")


@pytest.mark.golden
@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_that_of_the_golden_file(verb: str) -> None:
    done = CliRunner(env=WIDTH).invoke(app, [*verb.split(), "--help"], prog_name="rankwright")
    assert done.exit_code == 0, done.output
    assert_golden(f"help/{verb or 'rankwright'}.txt", "\n".join(map(str.rstrip, done.output.splitlines())) + "\n")


@pytest.mark.parametrize("name", [key.split(" = ")[0] for key in config_keys(RunConfig)])
def test_every_key_of_the_config_is_described(name: str) -> None:
    model: type[BaseModel] = RunConfig
    *sections, key = name.split(".")
    for section in sections:
        model = model.model_fields[section].annotation
    assert model.model_fields[key].description
