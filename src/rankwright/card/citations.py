"""What a card asks its readers to cite, and the names that losses have on the Hub.

In: the losses of a run. Out: BibTeX by name.
"""

from rankwright.card.run_folder import LossFacts

HUB_LOSS_NAMES = {
    "binary_cross_entropy": "BinaryCrossEntropyLoss",
    "cross_entropy": "CrossEntropyLoss",
    "mean_squared_error": "MSELoss",
    "multiple_negatives_ranking": "MultipleNegativesRankingLoss",
    "matryoshka": "MatryoshkaLoss",
}
"""Our losses by the class names of sentence-transformers, which the Hub's `loss:` filters know."""

SENTENCE_BERT = """@inproceedings{reimers-2019-sentence-bert,
    title = "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks",
    author = "Reimers, Nils and Gurevych, Iryna",
    booktitle = "Proceedings of the 2019 Conference on Empirical Methods in Natural Language Processing",
    month = "11",
    year = "2019",
    publisher = "Association for Computational Linguistics",
    url = "https://arxiv.org/abs/1908.10084",
}"""

LOSS_CITATIONS = {
    "MatryoshkaLoss": """@misc{kusupati2024matryoshka,
    title = {Matryoshka Representation Learning},
    author = {Aditya Kusupati and Gantavya Bhatt and Aniket Rege and Matthew Wallingford and Aditya Sinha and
              Vivek Ramanujan and William Howard-Snyder and Kaifeng Chen and Sham Kakade and Prateek Jain and
              Ali Farhadi},
    year = {2024},
    eprint = {2205.13147},
    archivePrefix = {arXiv},
    primaryClass = {cs.LG}
}""",
    "MultipleNegativesRankingLoss": """@misc{henderson2017efficient,
    title = {Efficient Natural Language Response Suggestion for Smart Reply},
    author = {Matthew Henderson and Rami Al-Rfou and Brian Strope and Yun-hsuan Sung and Laszlo Lukacs and
              Ruiqi Guo and Sanjiv Kumar and Balint Miklos and Ray Kurzweil},
    year = {2017},
    eprint = {1705.00652},
    archivePrefix = {arXiv},
    primaryClass = {cs.CL}
}""",
}


def losses_of(loss: LossFacts) -> list[LossFacts]:
    """A loss and all that it wraps, the outermost first."""
    return [loss, *(losses_of(loss.wraps) if loss.wraps else [])]


def hub_loss_name(loss: LossFacts) -> str:
    """The name by which the Hub filters a loss; a user's own loss keeps its name."""
    return HUB_LOSS_NAMES.get(loss.name, loss.name)


def citations(loss: LossFacts, *, version: str | None) -> dict[str, str]:
    """BibTeX of the method, of each loss that has a paper, and of this software.

    Args:
        loss: the loss of the run, with what it wraps.
        version: of rankwright, as the run recorded it.

    Returns:
        BibTeX by the name under which the card shows it.
    """
    names = [hub_loss_name(one) for one in losses_of(loss)]
    software = f"""@software{{rankwright,
    title = {{rankwright: text rankers, trained, measured and documented}},
    author = {{The rankwright contributors}},
    version = {{{version or "unknown"}}}
}}"""
    papers = {name: LOSS_CITATIONS[name] for name in names if name in LOSS_CITATIONS}
    return {"Sentence Transformers": SENTENCE_BERT, **papers, "rankwright": software}
