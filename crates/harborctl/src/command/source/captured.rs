//! A request that somebody captured: HTTP/1.1 as it went over the wire.
//!
//! Where the text leaves something open, this goes on with what is likely and says so: who captures requests
//! seldom chooses how they are written down.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// The most headers that are read; servers take far fewer.
const HEADERS_MAX: usize = 1_000;

/// A request that somebody captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Captured {
    pub(super) method: Method,
    /// What the request line names: a path with its query, or a whole URL.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// What was likely but not certain.
    pub(super) warnings: Vec<String>,
}

/// Says why a text is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// A line breaks a rule.
    #[error("line {line} {rule}")]
    Line { line: usize, rule: &'static str },
    /// The text ends within the headers.
    #[error("no blank line ends the headers")]
    Endless,
    /// The headers do not say how long the body is.
    #[error("Content-Length must be one whole number")]
    ContentLength,
}

impl Captured {
    /// Reads a request: lines may end with CR LF or with LF, and the body is taken byte for byte.
    ///
    /// # Errors
    /// Says which line is wrong, or what is missing.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let (first, mut rest) = split_line(text).ok_or(Malformed::Endless)?;
        let (method, target) = request_line(first).map_err(|rule| Malformed::Line { line: 1, rule })?;
        let mut headers = HeaderMap::new();
        for line in 2.. {
            let (header, after) = split_line(rest).ok_or(Malformed::Endless)?;
            rest = after;
            if header.is_empty() {
                break;
            }
            let at_line = |rule| Malformed::Line { line, rule };
            if headers.len() >= HEADERS_MAX {
                return Err(at_line("is one header too many"));
            }
            let (name, value) = header_line(header).map_err(at_line)?;
            headers.append(name, value);
        }

        let mut warnings = Vec::new();
        let body = body(&headers, rest, &mut warnings)?.to_vec();
        if headers.contains_key(TRANSFER_ENCODING) {
            let text = "the body is taken as it stands: Transfer-Encoding is not undone";
            warnings.push(text.to_owned());
        }
        Ok(Self { method, target, headers, body, warnings })
    }

    /// The URL that the request was sent to, as far as it says: by https to its host.
    pub(super) fn url(&mut self) -> String {
        if !self.target.starts_with('/') {
            return self.target.clone();
        }
        let host = self.headers.get(HOST).and_then(|host| host.to_str().ok());
        if let Some(host) = host {
            return format!("https://{host}{}", self.target);
        }
        self.warnings.push("no Host header says where it was sent; --url can".to_owned());
        self.target.clone()
    }
}

/// The first line without its end, and what follows; none without a line end.
fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let line = &text[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &text[end + 1..]))
}

fn request_line(line: &[u8]) -> Result<(Method, String), &'static str> {
    let rule = "must be a request line like `POST /path HTTP/1.1`";
    let words: Vec<&str> = str::from_utf8(line).map_err(|_| rule)?.split(' ').collect();
    let [method, target, version] = words.as_slice() else { return Err(rule) };
    let method = method.parse().map_err(|_| rule)?;
    let is_target = ["/", "http://", "https://"].iter().any(|start| target.starts_with(start));
    if !is_target || !version.starts_with("HTTP/") {
        return Err(rule);
    }
    Ok((method, (*target).to_owned()))
}

fn header_line(line: &[u8]) -> Result<(HeaderName, HeaderValue), &'static str> {
    let rule = "must be a header like `name: value`, or blank before the body";
    let colon = line.iter().position(|byte| *byte == b':').ok_or(rule)?;
    // A name with a blank before or after it is none, so lines that go on are refused too, as servers do.
    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| rule)?;
    let value = line[colon + 1..].trim_ascii();
    Ok((name, HeaderValue::from_bytes(value).map_err(|_| "must hold no control characters")?))
}

/// As much of what follows the headers as `Content-Length` says; all of it without one.
fn body<'a>(headers: &HeaderMap, rest: &'a [u8], warnings: &mut Vec<String>) -> Result<&'a [u8], Malformed> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(rest) };
    let digits = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length: usize = digits.and_then(|text| text.parse().ok()).ok_or(Malformed::ContentLength)?;
    if lengths.next().is_some() {
        return Err(Malformed::ContentLength);
    }
    if rest.len() != length {
        let verb = if rest.len() > length { "the rest is left out" } else { "some of it is missing" };
        let found = rest.len();
        warnings.push(format!("{found} bytes follow the headers, Content-Length says {length}: {verb}"));
    }
    Ok(&rest[..length.min(rest.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Captured, String> {
        Captured::parse(text.as_bytes()).map_err(|malformed| malformed.to_string())
    }

    #[test]
    fn lines_end_as_they_like_and_the_body_stays_as_it_is() {
        let check = |text: &str, expected: &str| {
            let captured = parse(text).unwrap();
            assert_eq!(str::from_utf8(&captured.body).unwrap(), expected, "{text:?}");
            assert_eq!(captured.method, Method::POST);
            assert_eq!(captured.headers["x-a"], "1 2");
            assert_eq!(captured.warnings, [""; 0]);
        };
        check("POST /in HTTP/1.1\r\nX-A: 1 2\r\n\r\na\r\nb\n", "a\r\nb\n");
        check("POST /in HTTP/1.1\nX-A:1 2 \n\na\r\nb\n", "a\r\nb\n");
        check("POST /in HTTP/1.1\nX-A: 1 2\n\n", "");
        check("POST /in HTTP/2\nX-A: 1 2\nContent-Length: 3\n\nabc", "abc");
        check("POST /in HTTP/1.1\r\nX-A: 1 2\r\n\r\n\r\n\r\n", "\r\n\r\n");
    }

    #[test]
    fn a_length_is_kept_and_what_differs_is_said() {
        let check = |length: usize, expected: &str, warning: &str| {
            let captured = parse(&format!("POST / HTTP/1.1\nContent-Length: {length}\n\nabc\n")).unwrap();
            assert_eq!(captured.body, expected.as_bytes());
            assert_eq!(captured.warnings, [warning]);
        };
        check(3, "abc", "4 bytes follow the headers, Content-Length says 3: the rest is left out");
        check(0, "", "4 bytes follow the headers, Content-Length says 0: the rest is left out");
        check(5, "abc\n", "4 bytes follow the headers, Content-Length says 5: some of it is missing");
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_line() {
        let check = |text: &str, expected: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        };
        check("", "no blank line");
        check("POST / HTTP/1.1\n", "no blank line");
        check("POST / HTTP/1.1\nx-a: 1", "no blank line");
        check("{\"id\": 1}\n\n", "line 1 must be a request line");
        check("POST /\n\n", "line 1");
        check("POST  / HTTP/1.1\n\n", "line 1");
        check("PO(ST / HTTP/1.1\n\n", "line 1");
        check("POST in HTTP/1.1\n\n", "line 1");
        check("POST / FTP/1.1\n\n", "line 1");
        check("POST / HTTP/1.1\nx-a: 1\nno header\n\n", "line 3 must be a header");
        check("POST / HTTP/1.1\nx-a : 1\n\n", "line 2");
        check("POST / HTTP/1.1\nx-a: 1\n  2\n\n", "line 3");
        check("POST / HTTP/1.1\n: 1\n\n", "line 2");
        check("POST / HTTP/1.1\nx-a: \u{1}\n\n", "line 2 must hold no control characters");
        check("POST / HTTP/1.1\nContent-Length: +1\n\na", "Content-Length");
        check("POST / HTTP/1.1\nContent-Length: \n\na", "Content-Length");
        check("POST / HTTP/1.1\nContent-Length: 1\nContent-Length: 1\n\na", "Content-Length");
        let headers = "x-a: 1\n".repeat(HEADERS_MAX + 1);
        check(&format!("POST / HTTP/1.1\n{headers}\n"), "line 1002 is one header too many");
    }

    #[test]
    fn the_url_is_made_of_what_the_request_says() {
        let check = |text: &str, expected: &str, warned: bool| {
            let mut captured = parse(text).unwrap();
            assert_eq!(captured.url(), expected);
            assert_eq!(!captured.warnings.is_empty(), warned, "{text:?}");
        };
        check("POST /in?a=1 HTTP/1.1\nHost: h.example:8443\n\n", "https://h.example:8443/in?a=1", false);
        check("POST http://h.example/in HTTP/1.1\nHost: other\n\n", "http://h.example/in", false);
        check("POST /in HTTP/1.1\n\n", "/in", true);
    }
}
