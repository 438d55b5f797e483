"""What a mistake in an exercise must be told."""

from derainlib.lab.exercises import Exercise


def assert_told(exercise: Exercise, said: str, answer: object):
    """The answer is refused with the one sentence that has these words, and no other."""
    verdict = exercise.verdict(answer)
    assert [one for one in exercise.slips if verdict.endswith(one)] == [one for one in exercise.slips if said in one]
    assert said in verdict
