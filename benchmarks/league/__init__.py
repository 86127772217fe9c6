"""The league: our models and their rivals with the same weights, images, pixels and wall time; see docs/league.md."""
