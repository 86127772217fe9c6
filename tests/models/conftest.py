"""Assertions of the shared contract show their values when they fail."""

import pytest

pytest.register_assert_rewrite("tests.models.contract")
