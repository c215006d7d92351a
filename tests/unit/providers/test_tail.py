from stacyvm.providers.tail import Tail


def test_only_the_end_is_kept_and_shown() -> None:
    tail = Tail()
    for _ in range(1000):
        tail.feed(b"x" * 5000)
    tail.feed(b" the end\x1b[31m\xff\n")
    assert len(tail._data) == 4096
    assert tail.text().endswith(" the end?[31m\N{REPLACEMENT CHARACTER}")
    assert len(tail.text()) == 500
