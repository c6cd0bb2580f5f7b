"""Texts that break rankers: what the parity tests encode, and what the tiny tokenizers are trained on.

In: nothing. Out: `CORPUS` for training a tokenizer, `HARD_TEXTS` and `HARD_PAIRS` to encode, `random_texts` for volume.
"""

import random

CORPUS = (
    "The committee reviewed the proposal and asked the authors for a second experiment with unseen documents.",
    "Gradient descent finds a minimum of the training loss; the learning rate decides how fast it gets there.",
    "How many queries were answered correctly after the ranker had been trained on the new collection?",
    "Abstracts were tokenized, lowercased and stored: 1,284 papers, 12 topics, 3.5 citations per sentence.",
    "def encode(texts, batch_size=32): return [model(text) for text in texts]  # one vector per text",
    "Zażółć gęślą jaźń. Wczoraj w Krakowie padał śnieg, a dziś świeci słońce i ludzie wyszli na ulice.",
    "Które zdanie najlepiej odpowiada na pytanie o historię polskiej literatury dziewiętnastego wieku?",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. Какой документ отвечает на вопрос?",
    "Река Волга впадает в Каспийское море; её длина составляет около трёх с половиной тысяч километров.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy. Größere Straßen heißen übermäßig häufig wie Flüsse.",
    "Le cœur déçu mais l'âme plutôt naïve, Louÿs rêva de crapaüter en canoë au delà des îles.",
    "Ο γάτος κάθεται στο παράθυρο και κοιτάζει τη θάλασσα. Ποια είναι η απάντηση στην ερώτηση;",
    "אני אוהב לקרוא ספרים בערב. האם המסמך הזה עונה על השאלה?",
    "القراءة مفيدة جدا للطلاب في كل مكان. أي وثيقة تجيب عن السؤال؟",
    "मुझे हिंदी में किताबें पढ़ना अच्छा लगता है। यह उत्तर सही है या नहीं?",
    "我喜欢在晚上读书。哪一个文档回答了这个问题?天气很好,我们去公园散步。",
    "東京の天気は晴れです。どの文書が質問に答えていますか。カタカナとひらがな。",
    "오늘은 날씨가 좋습니다. 어떤 문서가 질문에 답합니까? 한국어 문장입니다.",
    "ภาษาไทยไม่มีช่องว่างระหว่างคำ เอกสารใดตอบคำถามนี้",
    "ქართული ენა ძალიან ლამაზია. Հայերենը հին լեզու է։ አማርኛ በኢትዮጵያ ይነገራል።",
    "Emoji 😀 😂 👍🏽 👩‍👩‍👧‍👦 🇵🇱 🎉 ❤️ and symbols ∑ ∫ √ ≤ ≠ ∞ € £ ¥ © ™ → ⇒ ½ ² are tokens too.",
    "naive café résumé Ångström jalapeño façade coöperate: combining marks, ligatures ﬁ ﬂ and ＦＵＬＬ width.",
)
"""One line per language or style; twelve scripts and more."""

SPECIAL_TOKENS = ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]", "<s>", "</s>", "<pad>", "<unk>", "<mask>")
"""The literal special tokens of every family, as a user may type them."""

HARD_TEXTS = (
    "",
    " ",
    "\n",
    "\t\t\n \r\n",
    "a",
    ".",
    "A sentence of the usual kind, with a query and a document.",
    "  leading and   inner   and trailing spaces  ",
    "first line\nsecond line\n\nfourth line\ttab\ttab",
    "Zażółć gęślą jaźń, ŁÓDŹ i łódź.",
    "Съешь ещё этих мягких французских булок, ЙОД и ёлка.",
    "😀 👍🏽 👩‍👩‍👧‍👦 🇵🇱 ❤️ text 🎉🎉🎉 between",
    "cafe\u0301 and café, A\u030angstro\u0308m, z\u0323\u0307, q\u0307\u0323\u0308\u0301",
    "e" + "\u0301" * 300,
    "\u200b\u200d\ufeff zero\u00a0width\u00adand soft\u2028hyphen",
    "NUL \x00 and controls \x07\x1b[0m \x7f",
    "ＦＵＬＬ width ﬁligature ½ ² № ㎏",
    "[CLS] literal [SEP] special [PAD] tokens [MASK] of BERT [UNK]",
    "<s> literal </s> special <pad> tokens <mask> of RoBERTa <unk>",
    "<pad><pad> first and last <pad>",
    "lower[sep]case <S> </ s> and glued</s>tokens[SEP]here",
    "12 345,678.90 + 1e-12 == 0x1F; x_y-z@example.org/path?q=1&r=%20",
    "supercalifragilisticexpialidocious" * 6,
    "x" * 300,
    *CORPUS[11:20],
    "mixed ไทย हिंदी 中文 日本語 한국어 עברית العربية Ελληνικά русский polski in one text",
    ("The quick brown fox jumps over the lazy dog. Żółw i jeż. " * 200)[:10_000],
    "\n" * 6_000 + "after six thousand newlines",
)
"""Singles: empty, white space, scripts, marks, controls, literal special tokens, 10,000 characters."""

QUERY = "Which document answers the question? Które zdanie odpowiada na pytanie?"

HARD_PAIRS = (
    *((QUERY, text) for text in HARD_TEXTS),
    ("", ""),
    (HARD_TEXTS[-2], QUERY),
    (HARD_TEXTS[-2][:2_000], HARD_TEXTS[-2][:2_001]),
    ("[SEP]", "</s>"),
    ("<pad> query", "document <pad>"),
    ("same text", "same text"),
)
"""Pairs: each hard text as a document, empty and long ones on both sides."""


def random_texts(count: int, *, seed: int = 0, most_words: int = 60) -> list[str]:
    """Texts of mixed lengths made of the words of `CORPUS`.

    Args:
        count: how many.
        seed: decides them.
        most_words: the longest has so many words; short ones are as likely as long ones.

    Returns:
        The texts, all languages mixed.
    """
    draw = random.Random(seed)
    words = [word for line in CORPUS for word in line.split()]
    return [" ".join(draw.choices(words, k=draw.randint(1, most_words))) for _ in range(count)]
