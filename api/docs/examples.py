"""Examples of requests and answers, among them those of the documentation."""

from typing import Any

Json = dict[str, Any]

EVENT: Json = {
    "event": "feature_used",
    "customer_email": "jane@example.com",
    "properties": {"feature": "exports", "plan": "pro"},
}
BATCH: Json = {
    "events": [
        {"event": "login", "customer_email": "jane@example.com", "timestamp": "2025-12-01T09:00:00Z"},
        {
            "event": "feature_used",
            "customer_email": "jane@example.com",
            "properties": {"feature": "dashboard"},
            "timestamp": "2025-12-01T09:05:00Z",
        },
        {
            "event": "support_ticket_opened",
            "customer_email": "jane@example.com",
            "properties": {"subject": "Cannot export data"},
            "timestamp": "2025-12-01T09:30:00Z",
        },
    ]
}
REJECTED = (
    {
        "index": 1,
        "field": "timestamp",
        "code": "timestamp_invalid",
        "message": "`timestamp` is not ISO 8601; write it like 2025-12-01T10:00:00Z.",
    },
)
PARTIAL: Json = {"status": "partial", "accepted": 2, "rejected": REJECTED}
WARNINGS: Json = {
    "counts": {"timestamp_invalid": 3},
    "warnings": [
        {
            "at": "2025-12-01T10:00:00.214Z",
            "code": "timestamp_invalid",
            "field": "timestamp",
            "message": "`timestamp` is not ISO 8601; write it like 2025-12-01T10:00:00Z.",
            "event": "login",
        }
    ],
}
CUSTOMERS: Json = {
    "customers": [
        {
            "email": "jane@example.com",
            "first_seen": "2025-12-01T09:00:00Z",
            "last_seen": "2025-12-01T10:00:00Z",
            "last_active": "2025-12-01T09:30:00Z",
            "plan": "pro",
            "name": "Jane",
            "company": "Example Ltd",
            "mrr": 4900,
            "currency": "EUR",
            "mrr_at_risk": 3097,
            "risk": {"score": 63.2, "level": "high", "state": "active", "reason": "No login for 12 days"},
            "risen": 40.6,
        }
    ],
    "next_cursor": None,
}
CUSTOMER: Json = {
    "email": "jane@example.com",
    "first_seen": "2025-12-01T09:00:00Z",
    "last_seen": "2025-12-01T10:00:00Z",
    "last_active": "2025-12-01T09:30:00Z",
    "events": {"feature_used": 2, "login": 1, "support_ticket_opened": 1},
    "risk": {
        "score": 63.2,
        "probability": 0.632,
        "level": "high",
        "state": "active",
        "horizon_days": 30,
        "model": "prior-1",
        "scored_at": "2025-12-13T09:00:02Z",
        "low_confidence": False,
        "stale_input": False,
        "reasons": [{"signal": "silence", "points": 21.4, "text": "No login for 12 days"}],
    },
    "plan": "pro",
    "name": "Jane",
    "company": "Example Ltd",
    "mrr": 4900,
    "currency": "EUR",
    "mrr_at_risk": 3097,
    "traits": {"name": "Jane", "plan": "pro", "mrr": 4900, "currency": "EUR", "company": "Example Ltd"},
    "user_ids": ["user-1042"],
    "open_tickets": 1,
    "overdue_since": None,
    "nps": None,
    "advice": {
        "strategy": "support_follow_up",
        "urgency": "high",
        "why": "1 support ticket open, the oldest for 12 days",
        "facts": {"favourite_feature": "exports", "plan": "pro", "days_since_last_login": 12, "open_tickets": 1},
    },
}
ERASED: Json = {
    "erasure_id": "0b6f6f0e-5b1c-4c55-9a5e-3a4f2a1d7c11",
    "erased_at": "2025-12-13T09:00:02Z",
    "erased": {"events": 52, "event_ids": 0, "days": 31, "risks": 14, "dead_letters": 0},
}
TIMELINE: Json = {
    "events": [
        {
            "event": "feature_used",
            "timestamp": "2025-12-01T10:00:00Z",
            "received_at": "2025-12-01T10:00:00.214Z",
            "properties": {"feature": "exports", "plan": "pro"},
        }
    ],
    "next_cursor": None,
}
RISK_HISTORY: Json = {
    "risk": [
        {"at": "2025-12-01T09:00:02Z", "score": 22.6, "level": "medium"},
        {"at": "2025-12-13T09:00:02Z", "score": 63.2, "level": "high"},
    ]
}
COUNTED_EVENTS: Json = {
    "events": [
        {
            "event": "login",
            "count": 51200,
            "customers": 930,
            "first_seen": "2025-01-07T08:12:00Z",
            "last_seen": "2025-12-01T10:00:00Z",
            "kind": "recognised",
            "signal": "positive",
            "model": None,
        },
        {
            "event": "report_shared",
            "count": 212,
            "customers": 44,
            "first_seen": "2025-10-02T14:31:00Z",
            "last_seen": "2025-11-30T16:05:00Z",
            "kind": "custom",
            "signal": None,
            "model": {"state": "counting", "customers": 31, "customers_needed": 50, "weight": None},
        },
    ]
}
SERIES: Json = {
    "event": "feature_used",
    "series": [
        {"at": "2025-11-30T00:00:00Z", "count": 412, "customers": 96},
        {"at": "2025-12-01T00:00:00Z", "count": 508, "customers": 121},
    ],
    "properties": [
        {"name": "feature", "values": [{"value": "exports", "count": 431}, {"value": "dashboard", "count": 202}]},
        {"name": "plan", "values": [{"value": "pro", "count": 640}]},
    ],
}
LEVELS: Json = {
    "levels": [
        {"at": "2025-11-30T00:00:00Z", "low": 702, "medium": 121, "high": 41, "critical": 12, "lapsed": 54},
        {"at": "2025-12-01T00:00:00Z", "low": 709, "medium": 118, "high": 39, "critical": 13, "lapsed": 55},
    ]
}
_QUALITY: Json = {
    "snapshots": 2140,
    "lapses": 188,
    "base_rate": 0.0879,
    "auc": 0.842,
    "pr_auc": 0.391,
    "lift": 4.6,
    "brier": 0.0631,
    "brier_of_base_rate": 0.0801,
    "log_loss": 0.2284,
    "ece": 0.009,
    "calibration": [{"customers": 214, "said": 0.012, "happened": 0.009}],
}
MODEL: Json = {
    "name": "additive-3",
    "version": 3,
    "kind": "additive",
    "horizon_days": 30,
    "created_at": "2025-12-01T03:00:12Z",
    "baseline": -2.34,
    "weights": [
        {
            "feature": "silence",
            "signal": "silence",
            "weights": [0.81, -0.32],
            "knots": [1.7],
            "offset": 0.0,
            "covariance": [[0.0064, -0.0012], [-0.0012, 0.0036]],
        },
        {
            "feature": "event:report_shared",
            "signal": "report_shared",
            "weights": [-0.44],
            "knots": [],
            "offset": 0.0,
            "covariance": [[0.0121]],
        },
    ],
    "trained_on": {
        "horizon_days": 30,
        "since": "2025-01-07T00:00:00Z",
        "until": "2025-12-01T00:00:00Z",
        "customers": 930,
        "snapshots": 9120,
        "lapses": 801,
    },
    "holdout": _QUALITY,
    "holdout_before": {**_QUALITY, "auc": 0.811, "brier": 0.0652, "log_loss": 0.2391},
    "last_training": {
        "at": "2025-12-01T03:00:12Z",
        "decision": "additive did better on the holdout: log loss 0.2284 against 0.2391",
        "customers": 930,
        "snapshots": 9120,
        "lapses": 801,
    },
    "matured": {**_QUALITY, "day": "2025-10-29", "horizon_days": 30},
    "from_demo": False,
}
PARTS = {"redis": "ok", "postgres": "ok", "buffer": "ok", "clock": "ok", "workers": "ok", "tracking": "ok"}
READY: Json = {"status": "ok", "detail": PARTS}
NOT_READY: Json = {
    "status": "error",
    "code": "not_ready",
    "message": "Redis may evict the buffer: set its maxmemory-policy to noeviction, not allkeys-lru",
    "detail": {**PARTS, "redis": "Redis may evict the buffer: …"},
}
METRICS = """\
# HELP windback_events_unaccounted Accepted events missing from every count: 0, or a fault
# TYPE windback_events_unaccounted gauge
windback_events_unaccounted 0.0
"""

TRACK_RECORD: Json = {
    "days": 90,
    "before": 14,
    "level": "high",
    "left": 43,
    "flagged_before": 31,
    "flagged": 60,
    "flagged_left": 31,
    "customers": [{"email": "jane@example.com", "left_at": "2025-11-02T09:30:00Z", "score_before": 71.4}],
    "next_cursor": None,
    "why": None,
}
