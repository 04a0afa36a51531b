import java.io.FileOutputStream;
import java.io.InputStream;
import java.util.Collections;
import java.util.Properties;
import javax.mail.Flags;
import javax.mail.Folder;
import javax.mail.Message;
import javax.mail.Session;
import javax.mail.Store;

/** JavaMail: PORT MODE MECHANISM FOLDER. Writes message n to the file n; prints what else the library gives. */
class Pop3Store {
    public static void main(String[] arguments) throws Exception {
        String protocol = arguments[1].equals("tls") ? "pop3s" : "pop3";
        Properties properties = new Properties();
        if (arguments[1].equals("stls")) {
            properties.setProperty("mail.pop3.starttls.enable", "true");
            properties.setProperty("mail.pop3.starttls.required", "true");
        }
        properties.setProperty("mail." + protocol + ".ssl.checkserveridentity", "true");
        if (arguments[2].equals("APOP")) {
            properties.setProperty("mail." + protocol + ".apop.enable", "true");
        } else if (!arguments[2].equals("-")) {
            properties.setProperty("mail." + protocol + ".auth.mechanisms", arguments[2]);
        }
        Session session = Session.getInstance(properties);
        try (Store store = session.getStore(protocol)) {
            store.connect("localhost", Integer.parseInt(arguments[0]), "bob", "bobpw");
            Folder folder = store.getFolder("INBOX");
            folder.open(Folder.READ_WRITE);
            com.sun.mail.pop3.POP3Folder pop = (com.sun.mail.pop3.POP3Folder) folder;
            int[] sizes = pop.getSizes();
            System.out.println("stat " + folder.getMessageCount());
            for (Message message : folder.getMessages()) {
                int number = message.getMessageNumber();
                message.getSubject(); // by TOP n 0
                System.out.println("message " + number + " " + sizes[number - 1] + " " + pop.getUID(message));
                try (FileOutputStream file = new FileOutputStream(arguments[3] + "/" + number);
                        InputStream octets = ((com.sun.mail.pop3.POP3Message) message).getRawInputStream()) {
                    for (Object line : Collections.list(((com.sun.mail.pop3.POP3Message) message).getAllHeaderLines())) {
                        file.write((line + "\r\n").getBytes("ISO-8859-1"));
                    }
                    file.write("\r\n".getBytes("ISO-8859-1"));
                    octets.transferTo(file);
                }
            }
            folder.getMessage(2).setFlag(Flags.Flag.DELETED, true);
            folder.close(true);
        }
    }
}
