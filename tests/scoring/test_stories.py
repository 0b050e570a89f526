import pytest

from scoring.score import STATES, score
from tests.scoring.stories import FORBIDDEN, Story, read_stories
from tests.scoring.world import NOW, rollup


@pytest.mark.parametrize("story", read_stories(), ids=lambda story: story.story)
def test_a_customer_success_manager_would_agree(story: Story) -> None:
    """The risk lies where such customers end up, and state, advice and words fit it."""
    scores = score(rollup(*story.rows()), NOW)
    assert story.lowest <= round(100 * scores.probability[0], 1) <= story.highest
    assert story.state in ("*", STATES[scores.state[0]])
    assert story.strategy in ("*", scores.advice[0].strategy)
    words = [*(reason.text for reason in scores.reasons[0]), scores.advice[0].why]
    assert not [phrase for phrase in FORBIDDEN if any(phrase in text for text in words)]
    assert all(abs(reason.points) <= 100 for reason in scores.reasons[0])


def test_the_table_covers_what_customers_do() -> None:
    """Over a hundred stories, of every state and every strategy but the one that needs two favourite features."""
    stories = read_stories()
    assert len(stories) > 108
    assert {story.state for story in stories} >= set(STATES)
    assert {story.strategy for story in stories} >= {
        "none",
        "payment_recovery",
        "refund_rescue",
        "trial_conversion",
        "support_follow_up",
        "detractor_outreach",
        "downgrade_rescue",
        "onboarding_help",
        "re_engagement",
    }
