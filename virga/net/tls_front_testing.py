"""A server that speaks TLS and passes on what it hears, in plain text (tls_testing.h).

    tls_front_testing.py CERTIFICATE KEY PORT TARGET_PORT VERSION CUT_AFTER

VERSION is 1.2 or 1.3. After CUT_AFTER bytes of the target's, unless 0, a connection is cut off without TLS's own end.
"""
import asyncio
import ssl
import sys


async def pass_on(reader, writer, cut_after):
    """Returns False if the connection was cut."""
    passed = 0
    while data := await reader.read(1 << 16):
        if cut_after and passed + len(data) > cut_after:
            data = data[:cut_after - passed]
        writer.write(data)
        await writer.drain()
        passed += len(data)
        if cut_after and passed >= cut_after:
            return False
    return True


async def main():
    certificate, key, port, target, version, cut_after = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if version == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    async def serve(reader, writer):
        to_target = None
        try:
            from_target, to_target = await asyncio.open_connection("127.0.0.1", int(target))
            up = asyncio.create_task(pass_on(reader, to_target, 0))
            down = asyncio.create_task(pass_on(from_target, writer, int(cut_after)))
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            up.cancel()
            if down.done() and not down.exception() and not down.result():
                writer.transport.abort()
            else:
                down.cancel()
        except OSError:
            pass
        finally:
            for end in (writer, to_target):
                if end is not None:
                    end.close()

    server = await asyncio.start_server(serve, "127.0.0.1", int(port), ssl=context, backlog=1000)
    await server.serve_forever()


asyncio.run(main())
