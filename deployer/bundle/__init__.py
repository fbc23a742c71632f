"""Bundles: a release in one file that is an OCI image layout, for hosts without a registry, Git, or a network.

    oci-layout                what every OCI image layout has
    index.json                the image, and the digest of the contents; a signature; what a delta leaves out
    blobs/sha256/CONTENTS     JSON: service, version, where the release comes from, each file by path and digest
    blobs/sha256/…            manifest and configuration of the image, its layers as plain tar, the files

Each byte of the file follows from the contents and the blobs, so that the same input gives the same file, and
`Bundle.check` finds every other one. Nothing in it is compressed: it unpacks to no more than its own size.
"""
