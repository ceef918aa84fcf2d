// Pensée from Java 11 or later, over the C interface, by JNA (Debian: libjna-java).
//
//   java -Djna.library.path=LIBRARY_FOLDER -cp /usr/share/java/jna.jar Ask.java \
//       MODEL "What is 12 + 30?"
//
// Java 24 and later also want --enable-native-access=ALL-UNNAMED.
import com.sun.jna.IntegerType;
import com.sun.jna.Library;
import com.sun.jna.Native;
import com.sun.jna.Pointer;
import com.sun.jna.ptr.ByReference;
import com.sun.jna.ptr.PointerByReference;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;

public class Ask {
    public static class SizeT extends IntegerType {
        public SizeT() {
            this(0);
        }

        public SizeT(long value) {
            super(Native.SIZE_T_SIZE, value, true);
        }
    }

    public static class SizeTByReference extends ByReference {
        public SizeTByReference() {
            super(Native.SIZE_T_SIZE);
        }

        public long getValue() {
            return Native.SIZE_T_SIZE == 8 ? getPointer().getLong(0) : getPointer().getInt(0);
        }
    }

    /** The part of pensee.h that is used here. null in place of options means the defaults. */
    public interface C extends Library {
        int OK = 0;
        int ROLE_USER = 1;

        String pensee_error_message(Pointer error);

        void pensee_error_destroy(Pointer error);

        int pensee_model_load(
                String path, Pointer options, PointerByReference model, PointerByReference error);

        void pensee_model_destroy(Pointer model);

        int pensee_session_create(
                Pointer model,
                Pointer options,
                PointerByReference session,
                PointerByReference error);

        void pensee_session_destroy(Pointer session);

        int pensee_session_add_message(
                Pointer session, int role, byte[] text, SizeT size, PointerByReference error);

        int pensee_session_start(Pointer session, Pointer options, PointerByReference error);

        int pensee_session_think(Pointer session, PointerByReference error);

        int pensee_session_answer(Pointer session, PointerByReference error);

        Pointer pensee_session_thought_text(Pointer session, SizeTByReference size);

        Pointer pensee_session_answer_text(Pointer session, SizeTByReference size);
    }

    /** All text of the interface is UTF-8. */
    static final C PENSEE =
            Native.load("pensee_c", C.class, Map.of(Library.OPTION_STRING_ENCODING, "UTF-8"));

    public static class PenseeException extends Exception {
        PenseeException(String message) {
            super(message);
        }
    }

    interface Call {
        int run(PointerByReference error);
    }

    /** Runs a call that takes a place for an error last, and turns that error into an exception. */
    static void call(Call call) throws PenseeException {
        PointerByReference error = new PointerByReference();
        if (call.run(error) == C.OK) {
            return;
        }
        String message = PENSEE.pensee_error_message(error.getValue());
        PENSEE.pensee_error_destroy(error.getValue());
        throw new PenseeException(message);
    }

    interface Getter {
        Pointer text(Pointer session, SizeTByReference size);
    }

    /** A conversation, which keeps its model alive. One thread at a time may use it. */
    public static class Session implements AutoCloseable {
        /** null once closed, which the library refuses with a message. */
        private Pointer handle;

        public Session(String path) throws PenseeException {
            if (path.indexOf('\0') >= 0) { // C would take what stands before it
                throw new IllegalArgumentException("path: expected text without NUL, found one");
            }
            PointerByReference model = new PointerByReference();
            call(e -> PENSEE.pensee_model_load(path, null, model, e));
            try {
                PointerByReference session = new PointerByReference();
                call(e -> PENSEE.pensee_session_create(model.getValue(), null, session, e));
                handle = session.getValue();
            } finally {
                PENSEE.pensee_model_destroy(model.getValue());
            }
        }

        public void start(String question) throws PenseeException {
            byte[] text = question.getBytes(StandardCharsets.UTF_8);
            SizeT size = new SizeT(text.length);
            call(e -> PENSEE.pensee_session_add_message(handle, C.ROLE_USER, text, size, e));
            call(e -> PENSEE.pensee_session_start(handle, null, e));
        }

        public String think() throws PenseeException {
            call(e -> PENSEE.pensee_session_think(handle, e));
            return text(PENSEE::pensee_session_thought_text);
        }

        public String answer() throws PenseeException {
            call(e -> PENSEE.pensee_session_answer(handle, e));
            return text(PENSEE::pensee_session_answer_text);
        }

        /** By its size: models can write NUL. Without memory, null has size 0. */
        private String text(Getter getter) {
            SizeTByReference size = new SizeTByReference();
            Pointer text = getter.text(handle, size);
            return text == null
                    ? ""
                    : new String(
                            text.getByteArray(0, (int) size.getValue()), StandardCharsets.UTF_8);
        }

        /** May be called more than once. */
        @Override
        public void close() {
            PENSEE.pensee_session_destroy(handle);
            handle = null;
        }
    }

    public static void main(String[] arguments) {
        if (arguments.length != 2) {
            System.err.println("usage: Ask MODEL QUESTION");
            System.exit(2);
        }
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        try (Session session = new Session(arguments[0])) {
            session.start(arguments[1]);
            out.println("Thought:\n" + session.think());
            out.println("Answer:\n" + session.answer());
        } catch (PenseeException e) {
            System.err.println(e.getMessage());
            System.exit(1);
        }
    }
}
