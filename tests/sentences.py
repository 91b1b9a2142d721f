"What every refusal must be."


def assert_says(sentence, *words, most=None):
    "Each of the words, on one line that ends as a sentence; of fewer than `most` characters, where asked."
    for word in words:
        assert str(word) in str(sentence), sentence
    assert "\n" not in str(sentence) and str(sentence).rstrip().endswith((".", "?"))
    assert most is None or len(str(sentence)) < most
