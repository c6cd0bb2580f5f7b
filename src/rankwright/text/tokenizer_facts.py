"""What a tokenizer's files say beside the tokenizer itself.

In: nothing. Out: `TokenizerFacts`, which every way of reading a tokenizer gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class TokenizerFacts:
    """Maximum length, type ids and special tokens of a tokenizer.

    `special_tokens` maps roles such as "pad_token" to texts. `model_max_length` is None where no file limits it.
    """

    class_name: str
    model_max_length: int | None
    uses_type_ids: bool
    truncation_side: str
    special_tokens: Mapping[str, str]

    def id_of(self, tokenizer: "Tokenizer", role: str) -> int | None:
        """The id of the special token with this role ("pad_token", "cls_token", "sep_token", ...), or None."""
        token = self.special_tokens.get(role)
        return None if token is None else tokenizer.token_to_id(token)
