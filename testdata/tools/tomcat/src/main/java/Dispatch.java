import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.HexFormat;
import java.util.Map;
import org.apache.catalina.Context;
import org.apache.catalina.Wrapper;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.connector.Request;
import org.apache.catalina.connector.Response;
import org.apache.catalina.startup.Tomcat;
import org.apache.catalina.valves.ValveBase;

/**
 * A Tomcat with Jira's connector attributes and one application with three
 * servlets, mapped as Jira's are. It answers every request that reaches a
 * servlet with what the servlet sees.
 *
 * Usage: java Dispatch CONTEXT_PATH BASE_DIR. It prints its port, and ends
 * when its standard input does.
 */
public final class Dispatch {
    /** Servlet names and their mappings. "/" takes what nothing else does. */
    static final Map<String, String> SERVLETS = Map.of(
            "rest", "/rest/*",
            "servlet", "/plugins/servlet/*",
            "default", "/");

    public static void main(String[] args) throws Exception {
        Tomcat tomcat = new Tomcat();
        File base = new File(args[1]).getAbsoluteFile();
        Files.createDirectories(base.toPath().resolve("webapps"));
        tomcat.setBaseDir(base.getPath());

        // As in the server.xml that Jira ships; all else is stock.
        Connector connector = new Connector("HTTP/1.1");
        connector.setPort(0);
        connector.setProperty("address", "127.0.0.1");
        connector.setProperty("relaxedPathChars", "[]|");
        connector.setProperty("relaxedQueryChars", "[]|{}^\\`\"<>");
        connector.setProperty("maxHttpHeaderSize", "8192");
        connector.setURIEncoding("UTF-8");
        tomcat.setConnector(connector);

        // The only application, so that a path outside the context path is a
        // 404, as it is where Jira is alone in its Tomcat.
        Context context = tomcat.addContext(args[0], null);
        for (Map.Entry<String, String> s : SERVLETS.entrySet()) {
            Wrapper wrapper = Tomcat.addServlet(context, s.getKey(), "never.loaded.Servlet");
            wrapper.getPipeline().addValve(new Answer());
            context.addServletMappingDecoded(s.getValue(), s.getKey());
        }

        tomcat.start();
        System.out.println(connector.getLocalPort());
        System.out.flush();
        while (System.in.read() >= 0) {
            // Nothing is sent; the end is what is waited for.
        }
        tomcat.stop();
        tomcat.destroy();
    }

    /**
     * Stands before a servlet, where the mapping is done, and answers in its
     * stead: servlet name, the path and the requested session id, the last
     * two as the hex digits of their UTF-8 bytes.
     */
    static final class Answer extends ValveBase {
        @Override
        public void invoke(Request request, Response response) throws IOException {
            // The context's own path, since getContextPath() is the part of
            // the target that stood for it, undecoded.
            String path = request.getContext().getPath() + text(request.getServletPath())
                    + text(request.getPathInfo());
            String session = request.isRequestedSessionIdFromURL()
                    ? request.getRequestedSessionId() : "";
            response.setContentType("text/plain;charset=US-ASCII");
            response.getWriter().print(request.getWrapper().getName() + "\n" + hex(path) + "\n" + hex(session) + "\n");
        }

        private static String text(String s) {
            return s == null ? "" : s;
        }

        private static String hex(String s) {
            return HexFormat.of().formatHex(s.getBytes(StandardCharsets.UTF_8));
        }
    }
}
