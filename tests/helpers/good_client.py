"""A client that only asks what it may, as a process of its own: python good_client.py ADDRESS REQUEST RESULT.

It asks one thing after the other over one connection, and health over a new connection each time, as probes do, until
its standard input ends. Without TensorFlow, so that it is there at once and does not wait for the attacker's threads.
"""

import json
import pathlib
import sys
import threading
import time

import grpc

PREDICT = "/tensorflow.serving.PredictionService/Predict"
HEALTH, SERVING = "/grpc.health.v1.Health/Check", b"\x08\x01"
DEADLINE = 20.0
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]


def ask(address: str, method: str, message: bytes) -> tuple[str, float, bytes]:
    """(code, milliseconds, answer) over a new connection."""
    with grpc.insecure_channel(address, OPTIONS) as channel:
        return over(channel, method, message)


def over(channel, method: str, message: bytes) -> tuple[str, float, bytes]:
    """(code, milliseconds, answer) over a connection."""
    start = time.monotonic()
    try:
        code, answer = "OK", channel.unary_unary(method)(message, timeout=DEADLINE)
    except grpc.RpcError as error:
        code, answer = error.code().name, error.details().encode()
    return code, 1000 * (time.monotonic() - start), answer


def main(address: str, request: str, result: str) -> None:
    message, stop = pathlib.Path(request).read_bytes(), threading.Event()
    answers: dict[str, int] = {}
    calls, health = [], []

    def ask_for_health():
        while not stop.wait(0.1):
            code, milliseconds, answer = ask(address, HEALTH, b"")
            health.append((code if answer == SERVING else f"{code} {answer!r}", milliseconds))

    def ask_for_predictions():
        with grpc.insecure_channel(address, OPTIONS) as channel:
            while not stop.is_set():
                code, milliseconds, answer = over(channel, PREDICT, message)
                calls.append((code if code == "OK" else f"{code}: {answer.decode()}", milliseconds))
                if code == "OK":
                    answers[answer.hex()] = answers.get(answer.hex(), 0) + 1
                if len(calls) == 1:
                    print("started", flush=True)
                stop.wait(0.02 if code == "OK" else 0.2)

    threads = [threading.Thread(target=work) for work in (ask_for_health, ask_for_predictions)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    pathlib.Path(result).write_text(json.dumps({"calls": calls, "health": health, "answers": answers}))


if __name__ == "__main__":
    main(*sys.argv[1:])
