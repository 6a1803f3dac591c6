import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;

/**
 * Writes testdata/paths/corpus.tsv to standard output: what Tomcat dispatches
 * for each target of the corpus. Run it by hand, in this directory, on Java 17
 * or later:
 *
 * <pre>
 * mvn -q process-classes
 * java -cp target/classes Generate 9.0.123 10.1.61 > ../../paths/corpus.tsv
 * </pre>
 *
 * The arguments are the versions that pom.xml fetches. It starts each of them
 * (see Dispatch) with each context path, and sends HTTP/1.1 over raw sockets,
 * so that every byte of a target arrives as it stands here.
 */
public final class Generate {
    private static final List<String> CONTEXTS = List.of("", "/jira");

    public static void main(String[] versions) throws Exception {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.US_ASCII);
        header(out, versions);
        for (String context : CONTEXTS) {
            List<String> targets = Corpus.of(context, Path.of("targets.txt"));
            List<List<String>> answers = new ArrayList<>();
            for (String version : versions) {
                answers.add(ask(version, context, targets));
            }
            for (int i = 0; i < targets.size(); i++) {
                rows(out, versions, answers, context, targets.get(i), i);
            }
        }
        out.flush();
        if (out.checkError()) {
            throw new IOException("could not write the corpus");
        }
    }

    /** One row for all versions that answer alike. */
    private static void rows(PrintStream out, String[] versions, List<List<String>> answers,
            String context, String target, int i) {
        List<String> done = new ArrayList<>();
        for (List<String> a : answers) {
            String answer = a.get(i);
            if (done.contains(answer)) {
                continue;
            }
            done.add(answer);
            List<String> same = new ArrayList<>();
            for (int v = 0; v < versions.length; v++) {
                if (answers.get(v).get(i).equals(answer)) {
                    same.add(versions[v].substring(0, versions[v].indexOf('.')));
                }
            }
            out.print(String.join(",", same) + "\t" + quote(bytes(context)) + "\t" + quote(bytes(target)) + "\t"
                    + answer + "\n");
        }
    }

    private static void header(PrintStream out, String[] versions) {
        String java = "Java " + Runtime.version().feature();
        out.print("# What Tomcat dispatches for a request target. Don't edit by hand; it was made in testdata/tools/tomcat by\n"
                + "#   mvn -q process-classes && java -cp target/classes Generate " + String.join(" ", versions) + "\n"
                + "# on " + java + ", with embedded Tomcat " + String.join(" and ", versions)
                + " and the connector attributes that Jira ships\n"
                + "# (relaxedPathChars, relaxedQueryChars, URIEncoding=\"UTF-8\"), stock otherwise.\n"
                + "#\n"
                + "# Columns, parted by tabs; all but the first and the fourth are Go string literals:\n"
                + "#   tomcat   major versions that answer so: 9, 10, or 9,10\n"
                + "#   context  the context path of the only application deployed: \"\" or \"/jira\"\n"
                + "#   target   the request target as Tomcat receives it, byte for byte\n"
                + "#   outcome  the servlet that ran: rest (/rest/*), servlet (/plugins/servlet/*), default (/);\n"
                + "#            or the HTTP status where none did\n"
                + "#   path     contextPath + servletPath + pathInfo as the servlet sees them, the UTF-8 of Tomcat's\n"
                + "#            text: each byte that was no UTF-8 is U+FFFD, as in Go's string([]rune(s)); \"\" where none ran\n"
                + "#   session  the session id that the servlet finds requested in the path; \"\" where none is\n");
    }

    /** Starts one Tomcat and returns, for each target: outcome, path, session. */
    private static List<String> ask(String version, String context, List<String> targets) throws Exception {
        Process tomcat = new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-cp", "target/classes" + File.pathSeparator + "target/tomcat/" + version + "/*",
                "Dispatch", context, "target/run/" + version)
                .redirectError(ProcessBuilder.Redirect.to(Path.of("target/tomcat-" + version + ".log").toFile()))
                .start();
        try (BufferedReader said = new BufferedReader(new InputStreamReader(tomcat.getInputStream()))) {
            String port = said.readLine();
            if (port == null) {
                throw new IOException("Tomcat " + version + " did not start, see target/tomcat-" + version + ".log");
            }
            List<String> answers = new ArrayList<>();
            for (String target : targets) {
                answers.add(send(Integer.parseInt(port), target));
            }
            return answers;
        } finally {
            tomcat.getOutputStream().close();
            tomcat.waitFor();
        }
    }

    private static String send(int port, String target) throws IOException {
        try (Socket s = new Socket(InetAddress.getByName("127.0.0.1"), port)) {
            s.setSoTimeout(10_000);
            s.getOutputStream().write(
                    bytes("GET " + target + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
            InputStream in = s.getInputStream();
            String answer = new String(in.readAllBytes(), StandardCharsets.ISO_8859_1);
            if (!answer.startsWith("HTTP/1.1 ")) {
                throw new IOException("no HTTP answer to " + quote(bytes(target)) + ": " + answer);
            }
            String status = answer.substring(9, 12);
            if (status.startsWith("5")) {
                throw new IOException("answer " + status + " to " + quote(bytes(target)));
            }
            if (!status.equals("200")) {
                return status + "\t\"\"\t\"\"";
            }
            String[] lines = answer.substring(answer.indexOf("\r\n\r\n") + 4).split("\n", -1);
            return lines[0] + "\t" + quote(HexFormat.of().parseHex(lines[1])) + "\t"
                    + quote(HexFormat.of().parseHex(lines[2]));
        }
    }

    private static byte[] bytes(String s) {
        return s.getBytes(StandardCharsets.ISO_8859_1);
    }

    /** Go's string literal: all bytes outside printable ASCII as \xNN. */
    private static String quote(byte[] bytes) {
        StringBuilder s = new StringBuilder("\"");
        for (byte b : bytes) {
            if (b == '"' || b == '\\') {
                s.append('\\').append((char) b);
            } else if (b >= ' ' && b < 0x7f) {
                s.append((char) b);
            } else {
                s.append(String.format("\\x%02x", b & 0xff));
            }
        }
        return s.append('"').toString();
    }
}
