"""The limit of streaming: bytes from the provider to the reader as they come. No parsing, no storing, no merging."""

import asyncio
import sys


async def main(port: int, provider_port: int) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n{}")
            coming, asking = await asyncio.open_connection("127.0.0.1", provider_port)
            asking.write(request)
            while piece := await coming.read(65536):
                writer.write(piece)
            asking.close()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", port, backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
