"""Pictures of boxes, answers, maps and graphs."""
