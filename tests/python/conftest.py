from __future__ import annotations

import pensee
import pytest

QUESTION = "What is 12 + 30?"


@pytest.fixture(scope="session")
def model() -> pensee.Model:
    return pensee.load(bundled=True, n_threads=1)


@pytest.fixture
def session(model: pensee.Model) -> pensee.Session:
    return model.session()


@pytest.fixture
def endless() -> pensee.ReplyOptions:
    """Of a reply that fills the context."""
    return {
        "temperature": 0,
        "min_thought_tokens": 1_000_000,
        "max_extensions": 1_000_000,
        "thinking_token_budget": -1,
    }
