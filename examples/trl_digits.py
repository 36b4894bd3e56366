"""GRPO teaches a small GPT-2 to go on from the top of scikit-learn's digits in bright shades, and logs what it says."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from datasets import Dataset
from sklearn.datasets import load_digits
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from trackkit.integrations.transformers import TrackkitCallback
from trackkit.integrations.trl import log_profile


def bright(completions: list[str], **columns: Any) -> list[float]:
    """The reward: the mean shade, from 0 to 1."""
    shades = [[int(word) for word in text.split() if word.isdigit()] for text in completions]
    return [sum(found) / (16 * len(found)) if found else 0.0 for found in shades]


def main() -> None:
    words = {word: number for number, word in enumerate(["<pad>", "<end>", *map(str, range(17))])}
    made = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<end>", padding_side="left"
    )
    config = GPT2Config(
        vocab_size=19, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=1, pad_token_id=0
    )
    tops = [" ".join(str(int(shade)) for shade in image[:16]) for image in load_digits().data[:64]]
    callback = TrackkitCallback(project="digits", name="grpo", tags=["example"])
    log_profile()
    with tempfile.TemporaryDirectory() as folder:
        GPT2LMHeadModel(config).save_pretrained(folder)
        trainer = GRPOTrainer(
            folder,
            bright,
            args=GRPOConfig(
                "digits-grpo",
                max_steps=30,
                per_device_train_batch_size=16,
                num_generations=8,
                max_completion_length=8,
                learning_rate=3e-3,
                logging_steps=2,
                log_completions=True,
                num_completions_to_print=0,
                save_strategy="no",
                report_to="none",
                use_cpu=not torch.cuda.is_available(),
                bf16=False,
            ),
            train_dataset=Dataset.from_dict({"prompt": tops}),
            processing_class=tokenizer,
            callbacks=[callback],
        )
        trainer.train()
    print(f"see it with: trackkit show {callback.run.path}")


if __name__ == "__main__":
    main()
