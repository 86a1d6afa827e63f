"""Keys of a feed, and what they sign: for opkg as `usign` does it, for apk as apk-tools 3 does.

Why: a router installs only what somebody has signed whose key it knows, so that neither the server
that has the feed nor the way from it can put something else in.

How: two private keys in a directory of the user's own, made when they are needed, readable by nobody
else and never inside of the repository: Ed25519 (RFC 8032) for opkg, ECDSA on P-256 with SHA-512 for
apk. `openssl` (3.0 or later) makes them and signs, so no key is handled here.

    usign   public key  "Ed", 8 bytes of a number, 32 of the key; base64 below a comment
            signature   "Ed", the number, 64 of the signature; likewise
    apk     public key  PEM, SubjectPublicKeyInfo
            signature   u8 0, u8 4 (SHA-512), 16 bytes of SHA-512 of the key as a point, the
                        signature in DER; of the schema, these 18 bytes and SHA-512 of the tree

`usign` draws the number; here it is derived from the key, and need not be kept beside it.

Limits: the keys have no passphrase; who reads the directory can sign. ECDSA draws a number for each
signature: those of apk's index differ from run to run.
"""

import base64
import hashlib
import os
import pathlib
import subprocess

from .project import Unusable

KINDS = {"opkg": ["-algorithm", "ED25519"],
         "apk": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]}
# Raw public keys at the end of their SubjectPublicKeyInfo (RFC 8410, RFC 5480).
RAW_SIZES = {"opkg": 32, "apk": 65}
SIGN_VERSION, SHA_512 = 0, 4


def default_directory():
    """Where keys are unless the user says otherwise."""
    home = os.environ.get("XDG_CONFIG_HOME") or pathlib.Path.home() / ".config"
    return pathlib.Path(home) / "onebox-feed"


class Keys:
    """The keys in a directory."""

    def __init__(self, directory, repository):
        self.directory = pathlib.Path(directory).resolve()
        if self.directory.is_relative_to(repository.resolve()):
            raise Unusable(f"{self.directory}: private keys do not belong into the repository")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Those that were made.
        self.new = []
        self.files = {kind: self.key(kind, words) for kind, words in KINDS.items()}
        self.raw = {kind: self.public(kind, "DER")[-size:] for kind, size in RAW_SIZES.items()}

    def key(self, kind, words):
        """The file of a private key."""
        path = self.directory / f"{kind}.key"
        if not path.exists():
            pem = openssl("genpkey", *words)
            # Whole or not at all, and never readable by others.
            new = path.with_name(f"{path.name}.new")
            new.unlink(missing_ok=True)
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(pem)
            new.rename(path)
            self.new.append(path)
        if path.stat().st_mode & 0o077:
            raise Unusable(f"{path}: others may read this private key, which has to have mode 0600")
        return path

    def public(self, kind, form):
        return openssl("pkey", "-in", self.files[kind], "-pubout", "-outform", form)

    def number(self):
        """By what opkg's key is found: the name of its file in /etc/opkg/keys."""
        return hashlib.sha512(self.raw["opkg"]).digest()[:8]

    def opkg_public(self):
        data = b"Ed" + self.number() + self.raw["opkg"]
        return commented(f"onebox feed, public key {self.number().hex()}", data)

    def apk_public(self):
        return self.public("apk", "PEM")

    def opkg_signature(self, file):
        """Of a file, which is read by openssl: Ed25519 takes it as a whole."""
        signature = openssl("pkeyutl", "-sign", "-rawin", "-inkey", self.files["opkg"], "-in", file)
        data = b"Ed" + self.number() + signature
        return commented(f"signed by key {self.number().hex()}", data)

    def apk_signature(self, schema, tree):
        """The contents of a block that signs a tree."""
        header = bytes([SIGN_VERSION, SHA_512]) + hashlib.sha512(self.raw["apk"]).digest()[:16]
        signed = schema + header + hashlib.sha512(tree).digest()
        return header + openssl("dgst", "-sha512", "-sign", self.files["apk"], data=signed)


def commented(comment, data):
    return f"untrusted comment: {comment}\n{base64.b64encode(data).decode()}\n".encode()


def openssl(*words, data=b""):
    try:
        done = subprocess.run(["openssl", *words], input=data, capture_output=True)
    except FileNotFoundError as error:
        raise Unusable("openssl is missing, which signs: apt install openssl") from error
    if done.returncode != 0:
        raise Unusable(f"openssl {words[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
