"""Our templates, one a strategy: short, personal, one question, from what the customer said and did."""

from typing import Final

SUBJECTS: Final = {  # where a template's own subject comes out empty
    "payment_recovery": "Your open invoice",
    "refund_rescue": "Your refund request",
    "support_follow_up": "Your support request",
    "detractor_outreach": "Your feedback",
    "downgrade_rescue": "Your change of plan",
    "onboarding_help": "Getting started",
    "trial_conversion": "Your trial",
    "feature_win_back": "A short question",
    "re_engagement": "A short question",
    "none": "A short question",
}

TROUBLE: Final = """\
{% if ticket_subject %}
Your request {{ ticket_subject | quoted }} is open with us as well, and I'm sorry about the wait.
{% elif last_failure %}
I also see {{ last_failure | words | quoted }} in your account, on {{ last_failure_at | day }}.
{% endif %}
"""


def _letter(*parts: str) -> str:
    greeting = "Hi{% if name %} {{ name | first }}{% endif %},\n\n"
    return f"{greeting}{''.join(parts)}\nBest regards\n"


LETTERS: Final = {  # subject and body by strategy
    "payment_recovery": (
        "Your open invoice",
        _letter(
            "An invoice of yours has been open since {{ overdue_since | day }}.\n",
            TROUBLE,
            "\nIs there anything about your invoice that I can clear up for you?\n",
        ),
    ),
    "refund_rescue": (
        "Your refund request",
        _letter(
            "You asked for a refund on {{ refund_requested_at | day }}. ",
            "Your reason was {{ refund_reason | quoted }}. I'm sorry that it came to this.\n",
            TROUBLE,
            "\nIf we got this to work for you, would you give it another try?\n",
        ),
    ),
    "support_follow_up": (
        "{{ ticket_subject }}",
        _letter(
            "{% if ticket_subject %}\n",
            "Your request {{ ticket_subject | quoted }} is still open with us, and I'm sorry about the wait.\n",
            "{% elif open_tickets %}\n",
            "You have a request open with us, and I'm sorry about the wait.\n",
            "{% endif %}\n",
            "I also see {{ last_failure | words | quoted }} in your account, on {{ last_failure_at | day }}.\n",
            "\nIs this still in your way today?\n",
        ),
    ),
    "detractor_outreach": (
        "Your feedback",
        _letter(
            "Thank you for your honest answer: you gave us {{ nps }} out of 10. ",
            "You wrote {{ nps_comment | quoted }}.\n",
            TROUBLE,
            "\nWhat is the one thing that we should mend first for you?\n",
        ),
    ),
    "downgrade_rescue": (
        "Your change of plan",
        _letter(
            "You moved to a smaller plan on {{ downgraded_at | day }}. ",
            "What you use most is {{ favourite_feature | words }}, and I'd like to be sure that it still fits.\n",
            TROUBLE,
            "\nWhat was missing for you, or too much?\n",
        ),
    ),
    "onboarding_help": (
        "Getting started",
        _letter(
            "I'd like to see you get something out of your account soon.\n",
            TROUBLE,
            "\nWhat would you like to get done first? I'll show you the shortest way.\n",
        ),
    ),
    "trial_conversion": (
        "Your trial",
        _letter(
            "You have been trying us out since {{ trial_started_at | day }}. ",
            "So far you have used {{ favourite_feature | words }} most.\n",
            TROUBLE,
            "\nWhat would have to work for you to stay?\n",
        ),
    ),
    "feature_win_back": (
        "{% if favourite_feature %}A question about {{ favourite_feature | words }}{% endif %}",
        _letter(
            "What you used most is {{ favourite_feature | words }}. ",
            "The last time that I see is {{ favourite_last_used | day }}.\n",
            TROUBLE,
            "\nDid something get in the way, or do you no longer need it?\n",
        ),
    ),
    "re_engagement": (
        "A short question",
        _letter(
            "It has become quiet in your account: the last time that I see you there is {{ last_active | day }}.\n",
            TROUBLE,
            "\nIs there something that you miss, or has your work changed?\n",
        ),
    ),
    "none": (
        "A short question",
        _letter(
            "I'd like to hear how it goes for you.\n",
            "\nWhat is the one thing that would make your work with us easier?\n",
        ),
    ),
}
