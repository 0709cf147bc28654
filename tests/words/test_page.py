"""The examples of docs/words.md are what the reader says."""

import documents
import pytest
import sentences

PAGE = documents.read("docs/words.md")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
EXAMPLES = [row for row in ROWS if row[0] in ("CLEVR", "COCO", "VRD")]


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    return sentences.readers(tmp_path_factory.mktemp("aliases"))


@pytest.mark.parametrize("vocabulary, text, understood", EXAMPLES)
def test_an_example_is_understood_as_the_page_says(readers, vocabulary, text, understood):
    assert readers[vocabulary.lower()].read(text).understood == understood


def test_the_page_has_examples():
    assert len(EXAMPLES) >= 10
