"""The pictures and pages that a run is looked at with."""
