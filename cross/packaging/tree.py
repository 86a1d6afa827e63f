"""Files and directories as they are to be installed, all of them root's, and as a tar archive."""

import dataclasses
import io
import tarfile


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file, or with `data` None a directory."""
    mode: int
    data: bytes | None


class Tree:
    """Entries by path, which is relative to the root of the system: `etc/config/onebox`."""

    def __init__(self):
        self.entries = {}

    def add(self, path, data, mode=0o644):
        """Adds a file, or with None a directory, and the directories above."""
        parts = path.split("/")
        for depth in range(1, len(parts)):
            self.entries.setdefault("/".join(parts[:depth]), Entry(0o755, None))
        self.entries[path] = Entry(mode, data)

    def add_directory(self, source, places=lambda path: path, change=lambda path, data: data):
        """Adds all files below `source`: executable or not is all that is taken of their modes."""
        for file in sorted(source.rglob("*")):
            if file.is_file():
                mode = 0o755 if file.stat().st_mode & 0o100 else 0o644
                path = places(file.relative_to(source).as_posix())
                self.add(path, change(path, file.read_bytes()), mode)

    def copy(self):
        other = Tree()
        other.entries = dict(self.entries)
        return other

    def sorted(self):
        return sorted(self.entries.items())

    def files(self):
        return [(path, entry) for path, entry in self.sorted() if entry.data is not None]

    def size(self):
        """Bytes of all files."""
        return sum(len(entry.data) for _, entry in self.files())

    def tar(self, epoch):
        return tar([("", Entry(0o755, None)), *self.sorted()], epoch)


def tar(entries, epoch):
    """In GNU format: opkg takes the headers of a pax archive for files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, entry in entries:
            archive.addfile(header(path, entry, epoch), io.BytesIO(entry.data or b""))
    return out.getvalue()


def header(path, entry, epoch):
    info = tarfile.TarInfo(f"./{path}")
    info.mode, info.mtime = entry.mode, epoch
    if entry.data is None:
        info.type = tarfile.DIRTYPE
    else:
        info.size = len(entry.data)
    return info
