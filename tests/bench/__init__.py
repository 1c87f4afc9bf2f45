"""The benches: ours and its peers side by side, in one run, interleaved.  `python -m tests.bench [names] [--quick]`.

Rules of this folder: a bench measures and judges nothing; what is good enough stands in `goals.py` as data.  Contenders
get the same payloads and the same durability, or the difference is said in the contender's note.  What fails is reported
as failed, with the reason.  Peers run in a virtual environment of their own (`peers_venv.py`), as programs of `peers/`;
ours run as programs of `clients/`.  Nothing here is part of `make test` but the tests of the machinery itself.
"""
