"""The capacity of the loopback SQS: a client that does almost nothing but write and read.

It prints nothing; the server reports the measurement. Argument: the queue's URL. Ends when the queue is empty.
"""

import re
import socket
import sys
from urllib.parse import urlsplit

CONNECTIONS = 8
TIMEOUT = 30.0
_RECEIPT = re.compile(rb'"ReceiptHandle":"([^"]+)"')
_RECEIVE = b'{"QueueUrl":"q","MaxNumberOfMessages":10,"WaitTimeSeconds":0,"AttributeNames":["All"]}'


def main() -> None:
    where = urlsplit(sys.argv[1])
    sockets = [socket.create_connection((where.hostname, where.port), TIMEOUT) for _ in range(CONNECTIONS)]
    while True:
        for connection in sockets:
            connection.sendall(_request(b"ReceiveMessage", _RECEIVE))
        receipts = [_RECEIPT.findall(_answer(connection)) for connection in sockets]
        if not any(receipts):
            return
        busy = [(connection, found) for connection, found in zip(sockets, receipts, strict=True) if found]
        for connection, found in busy:
            entries = b",".join(b'{"Id":"%d","ReceiptHandle":"%s"}' % pair for pair in enumerate(found))
            connection.sendall(_request(b"DeleteMessageBatch", b'{"QueueUrl":"q","Entries":[' + entries + b"]}"))
        for connection, _ in busy:
            _answer(connection)


def _request(operation: bytes, body: bytes) -> bytes:
    return (
        b"POST / HTTP/1.1\r\nHost: bench\r\nX-Amz-Target: AmazonSQS.%s\r\nContent-Length: %d\r\n\r\n"
        % (operation, len(body))
    ) + body


def _answer(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += connection.recv(65_536)
    size = end + 4 + int(data[data.index(b"Content-Length:") + 15 : end].split(b"\r\n")[0])
    while len(data) < size:
        data += connection.recv(65_536)
    return data


if __name__ == "__main__":
    main()
