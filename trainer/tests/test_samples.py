from repoforge_trainer.losses import LossOptions
from repoforge_trainer.samples import BadSample, Sample, Target, micro_batches, part_hash, rows_of
import pytest


def choice(name: str, token: int, prompt: tuple[int, ...] = (1, 2, 3)) -> Sample:
    return Sample(name, (*prompt, token, 0), (Target(3, -1.0, (7, 8)), Target(4, 0.0, (0,))))


def test_choices_after_one_prompt_are_one_row_without_the_forced_end():
    rows = rows_of([choice("a", 7), choice("b", 8), choice("c", 7, (1, 2, 4))])
    assert [(row.token_ids, len(row.entries)) for row in rows] == [((1, 2, 3), 2), ((1, 2, 4), 1)]
    assert [entry.token for row in rows for entry in row.entries] == [7, 8, 7]


def test_every_target_is_there_when_asked_for():
    assert [len(row.entries) for row in rows_of([choice("a", 7)], free_only=False)] == [2]


def test_batches_hold_no_more_padded_tokens_than_they_may():
    rows = rows_of([Sample(str(n), tuple(range(n + 2)), (Target(n + 1, -1.0),)) for n in range(10)])
    batches = micro_batches(rows, 12)
    assert sum(len(batch) for batch in batches) == 10
    assert all(len(batch) == 1 or max(len(row.token_ids) for row in batch) * len(batch) <= 12 for batch in batches)


def test_a_hash_is_of_the_content():
    plain = LossOptions()
    assert part_hash([choice("a", 7)], plain) == part_hash([choice("a", 7)], plain) != part_hash([choice("a", 8)], plain)
    assert part_hash([choice("a", 7)], plain) != part_hash([choice("a", 7)], LossOptions(entropy_coefficient=0.1))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Sample("x", (1, 2), (Target(0, -1.0),)), "position 0 is not one of tokens 1 to 1"),
        (Sample("x", (1, 9), (Target(1, -1.0, (7, 8)),)), "not among those that were allowed"),
        (Sample("x", (1, 99), (Target(1, -1.0),)), "outside the vocabulary"),
        (Sample("x", (1, 2), (Target(1, -1.0),), temperature=0.0), "temperature 0.0"),
    ],
)
def test_what_cannot_be_trained_on_is_named(bad: Sample, message: str):
    with pytest.raises(BadSample, match=message):
        bad.check(50)
