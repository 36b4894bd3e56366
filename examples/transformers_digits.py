"""A small GPT-2 learns to draw scikit-learn's digits: an image is a text of 64 tokens, one for each of 17 shades."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from trackkit.integrations.transformers import TrackkitCallback


class Images(Dataset[Any]):
    def __init__(self, images: Any) -> None:
        self._tokens = torch.tensor(images, dtype=torch.long)

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self._tokens[index], "labels": self._tokens[index]}


def trainer(callback: TrackkitCallback, epochs: int) -> Trainer:
    images = load_digits().data
    model = GPT2LMHeadModel(GPT2Config(vocab_size=17, n_positions=64, n_embd=48, n_layer=2, n_head=4))
    arguments = TrainingArguments(
        "digits-gpt2",
        num_train_epochs=epochs,
        per_device_train_batch_size=64,
        learning_rate=3e-3,
        logging_steps=5,
        eval_strategy="epoch",
        save_strategy="epoch",
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    train, held_out = Images(images[:1500]), Images(images[1500:])
    return Trainer(model, arguments, train_dataset=train, eval_dataset=held_out, callbacks=[callback])


def main() -> None:
    first = TrackkitCallback(project="digits", name="gpt-2", tags=["example"], log_model="checkpoint")
    trainer(first, epochs=1).train()
    first.run.finish()

    # The checkpoint knows the run: these are its epochs 2 and 3.
    again = TrackkitCallback(project="digits", log_model="checkpoint")
    second = trainer(again, epochs=3)
    second.train(resume_from_checkpoint=True)

    start = torch.zeros(1, 1, dtype=torch.long, device=second.model.device)
    drawn = second.model.generate(start, max_length=64, do_sample=True, pad_token_id=0)[0]
    for row in drawn.reshape(8, 8).tolist():
        print("".join(" .:-=+*#%@"[shade * 9 // 16] for shade in row))
    print(f"see it with: trackkit show {again.run.path}")


if __name__ == "__main__":
    main()
