"""The built-in model: fetched behind the running server, run by llama.cpp in a child process, asleep when idle."""
