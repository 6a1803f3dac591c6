import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/**
 * The request targets to try: those of targets.txt, and mutations of a few
 * base paths. Each char of a target is one byte.
 */
final class Corpus {
    /** What is mutated, behind the context path. */
    private static final List<String> BASES = List.of(
            "/rest/api/2/myself",
            "/rest/auth/1/session",
            "/rest/auth/latest/session",
            "/secure/Dashboard.jspa",
            "/plugins/servlet/api-tokens",
            "/rest/api-tokens/latest/",
            "/s/abc/_/rest/api/2/myself",
            "/");

    /** Put at the end of each segment, the empty one at the end included. */
    private static final List<String> BEHIND = List.of(
            ";x", ";", ";jsessionid=AB", ";a=b;jsessionid=AB;c", "/", ".", "..;", ".;",
            "%3b", "%3Bjsessionid=AB", "%2f", "%2F", "%5c", "\\", "%00", "%25", "%252e", "%252f", "%2e",
            "%20", ".json", "%c0%af", "%ff", "%EF%BC%8E", "%EF%BC%9B");

    /** Put before each segment, as segments of their own. */
    private static final List<String> SEGMENTS = List.of(
            "", ".", "..", "%2e", "%2e%2e", ".%2E", "%2e.", "..;", ".;", "%2e%2e;", "%2E;x", "..;x", ";x", ";",
            ";jsessionid=AB", "x/..", "x/%2e%2e", "x/..;", "x/%2e%2e;", "%252e%252e", "..%2f", "..%5c", "..\\",
            "%c0%ae%c0%ae", "%EF%BC%8E%EF%BC%8E", "...", "%20");

    /** Put in the place of each slash but the first. */
    private static final List<String> SLASHES = List.of(
            "%2f", "%2F", "%5c", "\\", "%252f", "%c0%af", "%EF%BC%8F", "/%2f", ";/");

    private final Set<String> targets = new LinkedHashSet<>();

    /** The targets for one context path, "" or such as "/jira". */
    static List<String> of(String context, Path handWritten) throws IOException {
        Corpus c = new Corpus();
        for (String line : Files.readAllLines(handWritten, StandardCharsets.US_ASCII)) {
            if (line.isEmpty() || line.startsWith("# ")) {
                continue;
            }
            c.targets.add(unescape(line.startsWith("@") ? context + line.substring(1) : line));
        }
        for (String base : BASES) {
            c.mutate(context + base);
        }
        return new ArrayList<>(c.targets);
    }

    private void mutate(String path) {
        targets.add(path);
        targets.add(path + "?x=/rest/;/../y");
        List<Integer> slashes = new ArrayList<>();
        for (int i = 0; i < path.length(); i++) {
            if (path.charAt(i) == '/') {
                slashes.add(i);
            }
        }
        for (int i : slashes) {
            String before = path.substring(0, i);
            String behind = path.substring(i + 1);
            if (i > 0) {
                for (String m : BEHIND) {
                    targets.add(before + m + "/" + behind);
                }
                for (String m : SLASHES) {
                    targets.add(before + m + behind);
                }
            }
            for (String m : SEGMENTS) {
                targets.add(before + "/" + m + "/" + behind);
            }
            escapeLetters(path, i + 1);
        }
        for (String m : BEHIND) {
            targets.add(path + m);
        }
        for (String m : SEGMENTS) {
            targets.add(path + (path.endsWith("/") ? "" : "/") + m);
        }
    }

    /**
     * Escapes the first letter of the segment that begins at from, and the
     * first one whose escape has a hex letter, in both cases.
     */
    private void escapeLetters(String path, int from) {
        boolean first = true;
        for (int i = from; i < path.length() && path.charAt(i) != '/'; i++) {
            char c = path.charAt(i);
            boolean hexLetter = (c & 0xf) > 9;
            if (first || hexLetter) {
                String escape = String.format("%%%02x", (int) c);
                targets.add(path.substring(0, i) + escape + path.substring(i + 1));
                targets.add(path.substring(0, i) + escape.toUpperCase() + path.substring(i + 1));
                first = false;
            }
            if (hexLetter) {
                return;
            }
        }
    }

    /** Turns \xNN into that byte. A backslash itself is written \x5c. */
    private static String unescape(String s) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (int i = 0; i < s.length(); i++) {
            if (s.startsWith("\\x", i)) {
                out.write(Integer.parseInt(s.substring(i + 2, i + 4), 16));
                i += 3;
            } else if (s.charAt(i) == '\\') {
                throw new IllegalArgumentException("targets.txt: a lone backslash in " + s);
            } else {
                out.write(s.charAt(i));
            }
        }
        return out.toString(StandardCharsets.ISO_8859_1);
    }
}
