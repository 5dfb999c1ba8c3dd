"""Several signs in one video: where each begins and ends, by the hands' motion and rest; subtitles and ELAN files."""

from dsta.spans.motion import Span, SpanRule, find_spans
from dsta.spans.subtitles import as_eaf, as_vtt, check_output

__all__ = ["Span", "SpanRule", "as_eaf", "as_vtt", "check_output", "find_spans"]
