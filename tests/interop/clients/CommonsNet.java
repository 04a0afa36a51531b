import java.io.FileOutputStream;
import java.io.OutputStreamWriter;
import java.io.Reader;
import java.io.Writer;
import org.apache.commons.net.pop3.ExtendedPOP3Client;
import org.apache.commons.net.pop3.POP3;
import org.apache.commons.net.pop3.POP3Client;
import org.apache.commons.net.pop3.POP3MessageInfo;
import org.apache.commons.net.pop3.POP3SClient;

/** Commons Net: PORT MODE FOLDER. Writes message n to the file n; prints what else the library gives. */
class CommonsNet {
    public static void main(String[] arguments) throws Exception {
        String mode = arguments[1];
        POP3Client pop = mode.equals("plain") ? new POP3Client()
                : mode.equals("tls") ? new POP3SClient(true) : new ExtendedPOP3Client();
        pop.connect("localhost", Integer.parseInt(arguments[0]));
        if (pop instanceof ExtendedPOP3Client) {
            ExtendedPOP3Client extended = (ExtendedPOP3Client) pop;
            check(extended.execTLS());
            check(extended.auth(ExtendedPOP3Client.AUTH_METHOD.PLAIN, "bob", "bobpw"));
            extended.setState(POP3.TRANSACTION_STATE); // which `auth` leaves to its caller
        } else {
            check(pop.login("bob", "bobpw"));
        }
        POP3MessageInfo stat = pop.status();
        System.out.println("stat " + stat.number + " " + stat.size);
        for (POP3MessageInfo info : pop.listMessages()) {
            POP3MessageInfo id = pop.listUniqueIdentifier(info.number);
            System.out.println("message " + info.number + " " + info.size + " " + id.identifier);
            try (Reader reader = pop.retrieveMessage(info.number);
                    Writer file = new OutputStreamWriter(
                            new FileOutputStream(arguments[2] + "/" + info.number), "ISO-8859-1")) {
                reader.transferTo(file);
            }
        }
        try (Reader top = pop.retrieveMessageTop(1, 2)) {
            System.out.println("top " + new java.io.BufferedReader(top).lines().count());
        }
        check(pop.deleteMessage(1));
        check(pop.reset());
        check(pop.deleteMessage(2));
        check(pop.noop());
        check(pop.logout());
        pop.disconnect();
    }

    private static void check(boolean succeeded) {
        if (!succeeded) {
            throw new IllegalStateException();
        }
    }
}
