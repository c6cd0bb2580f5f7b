"""Checkpoints that bring code: a model of their own, and ways to have code run by whoever opens them.

In: a folder to write to. Out: the folder. All code that must not run writes the file `OWNED` beside the checkpoint.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.tiny import wordpiece

OWNED = "owned"

CONFIGURATION = """
from transformers import PretrainedConfig

class OwnConfig(PretrainedConfig):
    model_type = "own"

    def __init__(self, vocab_size=11, hidden_size=8, **more):
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        super().__init__(**more)
"""

MODELING = """
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput
from .configuration_own import OwnConfig

class OwnModel(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.table = nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, **more):
        return BaseModelOutput(last_hidden_state=torch.tanh(self.table(input_ids)))

class OwnModelForSequenceClassification(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.table = nn.Embedding(config.vocab_size, config.hidden_size)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, **more):
        sums = (torch.tanh(self.table(input_ids)) * attention_mask[..., None]).sum(1)
        return SequenceClassifierOutput(logits=self.classifier(sums))
"""


def payload(folder: Path) -> str:
    """Code that leaves a mark beside the checkpoint."""
    return f"open({str(folder.parent / OWNED)!r}, 'w').close()\n"


class Attack:
    """An object whose unpickling runs code."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (exec, (self.code,))


def write_own(folder: Path, *, num_labels: int = 0, attacks: bool = False) -> Path:
    """A model whose family is in its own Python files.

    Args:
        folder: where; made here.
        num_labels: of a cross-encoder; 0: a bi-encoder.
        attacks: whether the files leave a mark when they are run.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    prelude = payload(folder) if attacks else ""
    (folder / "configuration_own.py").write_text(prelude + CONFIGURATION)
    (folder / "modeling_own.py").write_text(prelude + MODELING)
    tokenizer = wordpiece()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 32, "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    head = "ForSequenceClassification" if num_labels else ""
    auto_map = {"AutoConfig": "configuration_own.OwnConfig", f"AutoModel{head}": f"modeling_own.OwnModel{head}"}
    sizes = {"vocab_size": tokenizer.get_vocab_size(), "hidden_size": 8}
    names = {"id2label": {str(i): str(i) for i in range(num_labels)}} if num_labels else {}
    described: dict[str, Any] = {"model_type": "own", "architectures": [f"OwnModel{head}"], "auto_map": auto_map}
    (folder / "config.json").write_text(json.dumps(described | sizes | names))
    generator = torch.Generator().manual_seed(0)
    tensors = {"table.weight": torch.randn(sizes["vocab_size"], 8, generator=generator)}
    if num_labels:
        tensors["classifier.weight"] = torch.randn(num_labels, 8, generator=generator)
        tensors["classifier.bias"] = torch.randn(num_labels, generator=generator)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
