"""The server's end of the pipe: frames to awaitables."""
