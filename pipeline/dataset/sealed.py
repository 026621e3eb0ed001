"""Private files that tell nothing without the project's secret.

AES-256-GCM (NIST SP 800-38D) under a key derived from the secret (HKDF-SHA256, RFC 5869), another one for each kind of
file, so that a wrong secret, a changed byte or a file put in another's place is refused and never half read.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pipeline.core.errors import PrivacyError, StorageError
from pipeline.core.files import PRIVATE_FILE_MODE, make_private_folder, write_atomically
from pipeline.core.pseudonyms import Pseudonyms

_NONCE_BYTES = 12


class Seal:
    """Closes and opens one kind of private file.

    Args:
        kind: what the files are, such as "crosswalk 1"; stands in clear at their beginning.
        pseudonyms: hold the project's secret.
    """

    def __init__(self, kind: str, pseudonyms: Pseudonyms) -> None:
        self._magic = f"liverset {kind}\n".encode()
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=self._magic).derive(pseudonyms.secret)
        self._cipher = AESGCM(key)
        self._kind = kind.partition(" ")[0]

    def write(self, path: Path, plain: bytes) -> None:
        """Seal and write a file, for its owner alone.

        Raises:
            StorageError: when the disk is full or the folder cannot be written.
        """
        nonce = os.urandom(_NONCE_BYTES)
        make_private_folder(path.parent)
        sealed = self._magic + nonce + self._cipher.encrypt(nonce, plain, self._magic)
        write_atomically(path, sealed, mode=PRIVATE_FILE_MODE)

    def read(self, path: Path) -> bytes:
        """What a sealed file holds.

        Raises:
            StorageError: when the file cannot be read.
            PrivacyError: when it is damaged, no file of this kind, or sealed with another secret.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StorageError(f"{path.name} cannot be read ({type(error).__name__})") from None
        nonce, body = content[len(self._magic) :][:_NONCE_BYTES], content[len(self._magic) + _NONCE_BYTES :]
        if not content.startswith(self._magic) or not body:
            raise PrivacyError(f"{path.name} is damaged or no {self._kind}; put it back from a backup")
        try:
            return self._cipher.decrypt(nonce, body, self._magic)
        except InvalidTag:
            raise PrivacyError(
                f"the secret does not open {path.name}: it is another project's secret, or the file was changed; "
                "use the key file that was made with this dataset. Nothing was changed"
            ) from None
