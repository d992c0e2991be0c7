"""Run the model in a child process: llama.cpp's server on loopback, at low priority, ending with its parent.

Started as `python -m tertulia.providers.local.child MODEL_FILE`. Reads its secret from the first line of standard input
and answers with one JSON line: `{"address": …}` or `{"error": …}`.
"""

import json
import os
import sys


def main() -> None:
    os.nice(10)
    secret = sys.stdin.readline().strip()
    try:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = sys.argv[1]
        params.n_ctx = 8192
        params.n_parallel = 2  # the context is divided: 4096 tokens for each of two replies at once
        # One core stays free for the web server. With all cores, any other load makes generation very slow.
        threads = max(1, (os.cpu_count() or 2) - 1)
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = threads
        params.no_extra_bufts = True
        params.cache_ram_mib = 0
        params.ui = False
        params.verbosity = -1
        params.api_keys = [secret]
        server = xllamacpp.Server(params)
        print(json.dumps({"address": server.listening_address}), flush=True)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
        raise SystemExit(1) from error
    sys.stdin.read()  # until the parent closes its end or dies
    os._exit(0)


if __name__ == "__main__":
    main()
