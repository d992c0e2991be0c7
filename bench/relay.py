"""Serve the limit of streaming: pass bytes from the provider to the reader without parsing, storing or merging."""

import asyncio
import sys


async def main(port: int, provider_port: int) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n{}")
            provider_reader, provider_writer = await asyncio.open_connection("127.0.0.1", provider_port)
            provider_writer.write(request)
            while piece := await provider_reader.read(65536):
                writer.write(piece)
            provider_writer.close()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", port, backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
