"""Private files that tell nothing without the project's secret.

AES-256-GCM (NIST SP 800-38D) under a key derived from the secret (HKDF-SHA256, RFC 5869), another one for each kind of
file, so that a wrong secret, a changed byte or a file put in another's place is refused and never half read.

The nonce is a keyed hash of the content, as in SIV modes (RFC 5297): the same content gives the same bytes, so that a
hash of them tells whether it changed, and two contents hardly ever share a nonce (one in 2^48 files).
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pipeline.core.errors import PrivacyError, StorageError
from pipeline.core.files import PRIVATE_FILE_MODE, make_private_folder, write_atomically
from pipeline.core.pseudonyms import Pseudonyms

_KEY_BYTES = 32
_NONCE_BYTES = 12


class Seal:
    """Closes and opens one kind of private content.

    Args:
        kind: what the files are, such as "crosswalk 1"; stands in clear at their beginning.
        pseudonyms: hold the project's secret.
    """

    def __init__(self, kind: str, pseudonyms: Pseudonyms) -> None:
        self._magic = f"liverset {kind}\n".encode()
        hkdf = HKDF(algorithm=SHA256(), length=2 * _KEY_BYTES, salt=None, info=self._magic)
        keys = hkdf.derive(pseudonyms.secret)
        self._cipher, self._nonce_key = AESGCM(keys[:_KEY_BYTES]), keys[_KEY_BYTES:]
        self._kind = kind.partition(" ")[0]

    def close(self, plain: bytes) -> bytes:
        """The content sealed; the same content gives the same bytes."""
        nonce = self._mac(b"nonce", plain)[:_NONCE_BYTES]
        return self._magic + nonce + self._cipher.encrypt(nonce, plain, self._magic)

    def open(self, sealed: bytes, name: str) -> bytes:
        """What `close` sealed.

        Args:
            sealed: the bytes.
            name: what they are called in a message.

        Raises:
            PrivacyError: when they are damaged, of no such kind, or sealed with another secret.
        """
        nonce, body = sealed[len(self._magic) :][:_NONCE_BYTES], sealed[len(self._magic) + _NONCE_BYTES :]
        if not sealed.startswith(self._magic) or not body:
            raise PrivacyError(f"{name} is damaged or no {self._kind}; put it back from a backup")
        try:
            return self._cipher.decrypt(nonce, body, self._magic)
        except InvalidTag:
            raise PrivacyError(
                f"the secret does not open {name}: it is another project's secret, or the file was changed; "
                "use the key file that was made with this dataset. Nothing was changed"
            ) from None

    def name_of(self, text: bytes) -> bytes:
        """A keyed name that stands for a text where it may not be shown."""
        return self._mac(b"name", text)

    def write(self, path: Path, plain: bytes) -> None:
        """Seal and write a file, for its owner alone.

        Raises:
            StorageError: when the disk is full or the folder cannot be written.
        """
        make_private_folder(path.parent)
        write_atomically(path, self.close(plain), mode=PRIVATE_FILE_MODE)

    def read(self, path: Path) -> bytes:
        """What a sealed file holds.

        Raises:
            StorageError: when the file cannot be read.
            PrivacyError: when it is damaged, no file of this kind, or sealed with another secret.
        """
        try:
            sealed = path.read_bytes()
        except OSError as error:
            raise StorageError(f"{path.name} cannot be read ({type(error).__name__})") from None
        return self.open(sealed, path.name)

    def _mac(self, use: bytes, content: bytes) -> bytes:
        mac = hmac.new(self._nonce_key, use + b"\0", hashlib.sha256)
        mac.update(content)
        return mac.digest()
