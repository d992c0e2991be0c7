"""The built-in model: downloaded in the background, run by llama.cpp in a child process, stopped when idle."""
