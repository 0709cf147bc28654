"""The progress line: rate and time left."""

from dsg_tf.training import progress_line


def test_progress_does_not_follow_the_clock_of_the_wall(monkeypatch):
    now = 100.0
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: now)
    monkeypatch.setattr(progress_line.time, "time", lambda: -1e9)
    progress = progress_line.ProgressLine(batch_size=4, total_steps=10, first_step=0)
    now += 2.0
    assert progress.rate(5) == 10.0 and progress.line(5, {}).endswith("10.0 images/s, 0.0 min left")
