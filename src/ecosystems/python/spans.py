"""Spans of source text: (start, end), each (line from 1, column in UTF-8 bytes), as Python's parser counts; part of canaries.py."""




def span_of(node):
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def text_between(span, lines):
    """Text of a span as it stands; columns are in UTF-8 bytes."""
    (first, start), (last, end) = span
    if first == last:
        return lines[first - 1].encode("utf-8")[start:end].decode("utf-8")
    head = lines[first - 1].encode("utf-8")[start:].decode("utf-8")
    tail = lines[last - 1].encode("utf-8")[:end].decode("utf-8")
    return "\n".join([head, *lines[first : last - 1], tail])


def source_of(node, lines):
    return text_between(span_of(node), lines)


def replace_span(lines, edit):
    ((first, column), (last, until)), text = edit
    head = lines[first - 1].encode("utf-8")[:column].decode("utf-8")
    tail = lines[last - 1].encode("utf-8")[until:].decode("utf-8")
    return lines[: first - 1] + (head + text + tail).split("\n") + lines[last:]
