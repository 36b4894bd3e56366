"""TRL's trainers, training a real model: completions, rewards and profile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset
from PIL import Image
from sklearn.datasets import load_digits
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, set_seed
from trl import SFTConfig, SFTTrainer

import trackkit
from tests.conftest import RunScript
from tests.frameworks.tracking import INIT, only, values
from trackkit.integrations.transformers import TrackkitCallback
from trackkit.integrations.transformers.completions import columns
from trackkit.integrations.trl import LogCompletionsCallback, log_profile

pytestmark = pytest.mark.filterwarnings("ignore")
torch.set_num_threads(1)

COMMON: dict[str, Any] = {
    "output_dir": "out",
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "disable_tqdm": True,
    "save_strategy": "no",
    "logging_steps": 1,
    "dataloader_pin_memory": False,
    "gradient_checkpointing": False,
}


def tokenizer() -> PreTrainedTokenizerFast:
    """Words are the shades of an image's points, `0` to `16`."""
    words = {word: number for number, word in enumerate(["<pad>", "<end>", *map(str, range(17))])}
    made = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<end>", padding_side="left")


def model() -> GPT2LMHeadModel:
    set_seed(0)
    size = {"n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(vocab_size=19, bos_token_id=1, eos_token_id=1, pad_token_id=0, **size))


def rows(count: int) -> list[str]:
    """The first two rows of images, as text."""
    return [" ".join(str(int(shade)) for shade in image[:16]) for image in load_digits().data[:count]]


def bright(completions: list[str], **columns: Any) -> list[float]:
    return [float(sum(word == "16" for word in one.split())) for one in completions]


def trainer(callback: TrackkitCallback, kind: str = "GRPO", **options: Any) -> Any:
    arguments = {"per_device_train_batch_size": 4, "num_generations": 4, "max_completion_length": 6, "max_steps": 2}
    make, configure = getattr(trl, f"{kind}Trainer"), getattr(trl, f"{kind}Config")
    model().save_pretrained("base")  # RLOO loads it a second time, for reference
    return make(
        "base",
        bright,
        args=configure(**{**COMMON, **arguments, **options}),
        train_dataset=Dataset.from_dict({"prompt": rows(8)}),
        processing_class=tokenizer(),
        callbacks=[callback],
    )


def test_rewards_are_logged_at_the_trainer_s_steps(folder: Path) -> None:
    used = TrackkitCallback(**INIT)
    training = trainer(used)
    training.train()
    used.run.finish()
    run = only()
    expected = {entry["step"]: entry["reward"] for entry in training.state.log_history if "reward" in entry}
    assert values(run, "train/reward") == expected
    assert list(expected) == [1, 2]
    assert run.config["num_generations"] == 4


@pytest.mark.parametrize("kind", ["GRPO", "RLOO"])
def test_the_completions_of_every_logged_step_are_a_table(folder: Path, kind: str) -> None:
    used = TrackkitCallback(**INIT)
    trainer(used, kind, log_completions=True, num_completions_to_print=0).train()
    used.run.finish()
    run = only()
    assert [one.step for one in run.media("completions")] == [1, 2]
    for step in (1, 2):
        frame = run.table("completions", step).pandas()
        assert list(frame.columns) == ["step", "prompt", "completion", "bright", "advantage"]
        assert len(frame) == 4
        assert set(frame["step"]) == {step}
        assert set(frame["prompt"]) <= set(rows(8))
        assert list(frame["bright"]) == bright(list(frame["completion"]))


def test_only_prompts_that_differ_are_in_the_table_where_it_is_asked_for(folder: Path) -> None:
    used = TrackkitCallback(**INIT)
    options = {"log_completions": True, "num_completions_to_print": 0, "log_unique_prompts": True, "max_steps": 1}
    trainer(used, **options).train()
    used.run.finish()
    assert len(only().table("completions").pandas()) == 1


def test_no_completions_are_logged_unless_the_trainer_writes_them(folder: Path) -> None:
    used = TrackkitCallback(**INIT)
    trainer(used, max_steps=1).train()
    used.run.finish()
    assert only().media_keys() == {}


def test_conversations_are_text_and_their_images_are_columns() -> None:
    image = Image.fromarray(load_digits().images[0].astype("uint8"))
    said = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "which digit?"}]}]
    logs = {
        "prompt": [said, "none"],
        "completion": ["zero", "one"],
        "rewards": {"right": [1.0, 0.0]},
        "extra": {"seconds": [3]},  # of another length than the rest
        "images": [[image, image], None],
    }
    table = columns(logs, 7)
    assert list(table) == ["step", "prompt", "completion", "right", "image", "image-1"]
    assert json.loads(table["prompt"][0])[0]["content"][1] == {"type": "text", "text": "which digit?"}
    assert [type(cell) for cell in table["image"]] == [trackkit.Image, type(None)]


def test_an_evaluation_s_prompts_are_completed_into_tables(folder: Path) -> None:
    text = {"prompt": rows(3), "completion": rows(3)}
    training = SFTTrainer(
        model(),
        SFTConfig(**{**COMMON, "max_steps": 4, "max_length": 32}),
        train_dataset=Dataset.from_dict(text),
        processing_class=tokenizer(),
        callbacks=[TrackkitCallback()],
    )
    training.eval_dataset = Dataset.from_dict(text)
    training.add_callback(LogCompletionsCallback(training, GenerationConfig(max_new_tokens=4), num_prompts=2, freq=2))
    with trackkit.init(**INIT):
        training.train()
    run = only()
    assert [one.step for one in run.media("completions")] == [2, 4]
    frame = run.table("completions").pandas()
    assert list(frame["step"]) == [4, 4]
    assert list(frame["prompt"]) == rows(2)


def test_the_profile_is_logged_while_it_is_asked_for(folder: Path) -> None:
    log_profile()
    log_profile()
    try:
        used = TrackkitCallback(**INIT)
        trainer(used).train()
    finally:
        log_profile(False)
    used.run.finish()
    profile = {
        key: values(only(), key) for key in only().keys() if key.startswith("profiling/Time taken: GRPOTrainer.")
    }
    assert profile
    assert all(seconds > 0 for points in profile.values() for seconds in points.values())

    used = TrackkitCallback(project="unprofiled", settings=INIT["settings"])
    trainer(used).train()
    path = used.run.path
    used.run.finish()
    assert not [key for key in trackkit.Api().run(path).keys() if key.startswith("profiling")]


def test_without_trl_the_error_names_the_extra(run_script: RunScript) -> None:
    done = run_script("""
        import sys
        sys.modules["trl"] = None
        import trackkit.integrations.trl
    """)
    assert "pip install 'trackkit[trl]'" in done.stderr.splitlines()[-1]
