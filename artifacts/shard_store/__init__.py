"""A store of shards that many bundles share: every content once on disk, however many bundles show it.

    STORE/
      store.json                    says that the folder is a store, and in which layout
      shards/ab/DIGEST.safetensors  one tensor each, named by the SHA-256 of the file; read-only
      claims/ID.json                what one bundle needs: where it lies, its manifest's digest, its shards
      writers/ID.json               what a writer needs that has not put its bundle in place; locked while it lives
      drafts/                       files that are being written
      lock, gate                    the lock between writers and gc, and the queue for it

A bundle has hard links to its shards, or copies where the file system cannot link. Either way it is whole without
its store: whatever happens to a store costs disk, never a bundle.

How the parts work together:

- A shard's bytes depend on its tensor's bytes and on nothing else (`shard_file`), so bundles that show one content with
  other shapes or types share it. A file appears under its final name by link(2), complete and on disk.
- A writer (`writer.py`) announces what it needs, then puts and links it under the shared lock, and later, under the
  shared lock again, writes its claim and puts the bundle in place. In between, what it announced keeps its shards, and
  nobody waits for it. If it dies the kernel drops its locks: what it announced counts no more.
- gc (`collect.py`) takes the exclusive lock, so nobody is putting, linking or claiming. It keeps what a claim lists
  whose bundle is there, what a living writer announced, and what has another hard link. Age is never asked for.
- Everything above asks the place for few operations (`files.py`), which a folder has by the standard library alone
  (`local.py`). A URL has them through fsspec, and writers and gc there do without the locks of a kernel (`remote.py`).
"""
