"""Makes internal/tfevents/testdata/events: an event file as TensorBoard's own writer writes it (tensorboard 2.21.0).

    pip install tensorboard==2.21.0
    python scripts/goldens/tfevents.py
"""

from pathlib import Path

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

OUT = Path(__file__).resolve().parent.parent.parent / "internal/tfevents/testdata/events"


def scalars(**values):
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=name, simple_value=v) for name, v in values.items()])


def main():
    session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    events = [
        event_pb2.Event(wall_time=1700000000.25, step=0, file_version="brain.Event:2"),
        event_pb2.Event(wall_time=1700000000.5, step=3, session_log=session),
        event_pb2.Event(wall_time=1700000001.0, step=3, summary=scalars(loss=0.1, lr=-2.5e-5)),
        event_pb2.Event(wall_time=1700000002.0, step=1 << 40, summary=scalars(**{"eval/pearson": float("nan")})),
    ]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    with OUT.open("wb") as f:
        writer = RecordWriter(f)
        for e in events:
            writer.write(e.SerializeToString())
        writer.flush()


if __name__ == "__main__":
    main()
