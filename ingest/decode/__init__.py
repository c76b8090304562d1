"""Any audio file -> 16 kHz mono, 16 bit; every fault is a status with a reason."""

from slvr.ingest.decode.content import Encoded as Encoded
from slvr.ingest.decode.format import Format as Format
from slvr.ingest.decode.reader import Decoded as Decoded
from slvr.ingest.decode.reader import Probed as Probed
from slvr.ingest.decode.reader import declared_duration_s as declared_duration_s
from slvr.ingest.decode.reader import decode_file as decode_file
from slvr.ingest.decode.reader import decoded_clip as decoded_clip
from slvr.ingest.decode.reader import probe as probe
